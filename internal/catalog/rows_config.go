package catalog

import (
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Keys of _pico_property. The first four are Picodata's; the others hold what it keeps beside the catalog.
const (
	PropGlobalSchemaVersion  = "global_schema_version"  // version of the newest schema change, unsigned
	PropNextSchemaVersion    = "next_schema_version"    // version of the next one, unsigned
	PropSystemCatalogVersion = "system_catalog_version" // version of the layout of these tables, string
	PropClusterVersion       = "cluster_version"        // lowest version among live instances, string
	PropClusterName          = "cluster_name"           // string
	PropClusterUUID          = "cluster_uuid"           // string
	PropClusterEpoch         = "cluster_epoch"          // raised by a forced recovery, unsigned
	PropNextRaftID           = "next_raft_id"           // the counter behind raft_id and data_raft_id, unsigned
	PropPendingSchemaChange  = "pending_schema_change"  // the change of the schema that is under way, if there is one
	PropPendingSchemaVersion = "pending_schema_version" // its version, unsigned
	PropTablesSchemaVersion  = "tables_schema_version"  // version of the newest committed change of tables, unsigned
	// PropDestroyedSchemaVersion is the version of the newest committed change by which rows go, PropSettledSchemaVersion that up to
	// which every replicaset that could be asked has carried them out, unsigned both.
	PropDestroyedSchemaVersion = "destroyed_schema_version"
	PropSettledSchemaVersion   = "settled_schema_version"
	PropNextTableID            = "next_table_id"          // the counter behind the ids of tables, unsigned
	PropAbortedSchemaChanges   = "aborted_schema_changes" // the newest changes that were taken back, and why
)

// Property is a row of _pico_property; Value is one MessagePack value.
type Property struct {
	Key   string
	Value []byte
}

// Row encodes the property as a tuple of _pico_property.
func (p Property) Row() []byte {
	b := msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 2), p.Key)
	return append(b, p.Value...)
}

// ParseProperty decodes a row of _pico_property.
func ParseProperty(row []byte) (Property, error) {
	r := reader{b: row}
	r.arrayOf(2)
	p := Property{Key: r.str(), Value: r.raw()}
	return p, r.end()
}

// UintProperty and StrProperty make properties of the two types that exist.
func UintProperty(key string, v uint64) Property {
	return Property{Key: key, Value: msgpack.AppendUint(nil, v)}
}

// StrProperty makes a property that holds a string.
func StrProperty(key, v string) Property { return Property{Key: key, Value: msgpack.AppendStr(nil, v)} }

func checkProperty(row []byte) error {
	p, err := ParseProperty(row)
	if err != nil {
		return err
	}
	r := reader{b: p.Value}
	switch p.Key {
	case PropGlobalSchemaVersion, PropNextSchemaVersion, PropClusterEpoch, PropNextRaftID,
		PropPendingSchemaVersion, PropTablesSchemaVersion, PropDestroyedSchemaVersion, PropSettledSchemaVersion, PropNextTableID:
		r.uint()
	case PropPendingSchemaChange:
		r.ddl()
	case PropAbortedSchemaChanges:
		r.aborts()
	case PropSystemCatalogVersion, PropClusterVersion, PropClusterName, PropClusterUUID:
		r.str()
	default:
		r.raw()
	}
	return r.end()
}

// isUndeletable reports whether a property must always be there.
func isUndeletable(key string) bool {
	switch key {
	case PropGlobalSchemaVersion, PropNextSchemaVersion, PropClusterVersion, PropClusterName, PropClusterUUID,
		PropClusterEpoch, PropNextRaftID, PropTablesSchemaVersion, PropDestroyedSchemaVersion, PropSettledSchemaVersion, PropNextTableID:
		return true
	}
	return false
}

// DBConfig is a row of _pico_db_config; Value is one MessagePack value.
type DBConfig struct {
	Key   string
	Scope string // empty: the whole cluster; else the name of a tier
	Value []byte
}

// Row encodes the parameter as a tuple of _pico_db_config.
func (c DBConfig) Row() []byte {
	b := msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 3), c.Key)
	return append(msgpack.AppendStr(b, c.Scope), c.Value...)
}

// ParseDBConfig decodes a row of _pico_db_config.
func ParseDBConfig(row []byte) (DBConfig, error) {
	r := reader{b: row}
	r.arrayOf(3)
	c := DBConfig{Key: r.str(), Scope: r.str(), Value: r.raw()}
	return c, r.end()
}

// number takes an integer or a double as a double.
func (r *reader) number() float64 {
	if r.err != nil || len(r.b) == 0 {
		r.fail("number")
		return 0
	}
	switch msgpack.TypeOf(r.b[0]) {
	case msgpack.TypeUint, msgpack.TypeInt:
		return float64(r.int())
	}
	return r.float()
}
