package catalog

import (
	"fmt"

	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// The ids of the catalog's tables: Picodata's minus 100.
const (
	TableTable       uint32 = 412
	TableIndex       uint32 = 413
	TablePeerAddress uint32 = 414
	TableInstance    uint32 = 415
	TableProperty    uint32 = 416
	TableReplicaset  uint32 = 417
	TableUser        uint32 = 420
	TablePrivilege   uint32 = 421
	TableTier        uint32 = 423
	TableDBConfig    uint32 = 431
	// TableSchemaObject has no model in Picodata.
	TableSchemaObject uint32 = 435
)

// IndexDef describes an index of a catalog table. The first index of a table is its primary key.
type IndexDef struct {
	ID     uint32
	Name   string
	Unique bool
	Parts  []tuple.Part
}

// TableDef describes a catalog table as clients see it: a read-only space with this id, name, format and indexes.
type TableDef struct {
	ID      uint32
	Name    string
	Fields  []tuple.Field
	Indexes []IndexDef
	// trailing is the number of last fields that a row may lack.
	trailing int
}

// builtinTables are the tables that every catalog has.
var builtinTables = Defs()

// Defs returns the definitions of all catalog tables in ascending order of id.
func Defs() []TableDef {
	return []TableDef{
		tableDef(), indexDef(), peerAddressDef(), instanceDef(), propertyDef(), replicasetDef(), userDef(), privilegeDef(), tierDef(), dbConfigDef(),
		schemaObjectDef(),
	}
}

func req(name string, t tuple.FieldType) tuple.Field { return tuple.Field{Name: name, Type: t} }

func opt(name string, t tuple.FieldType) tuple.Field {
	return tuple.Field{Name: name, Type: t, Nullable: true}
}

// index builds an IndexDef over fields by number, taking the part types from the format.
func index(id uint32, name string, unique bool, fields []tuple.Field, nos ...uint32) IndexDef {
	d := IndexDef{ID: id, Name: name, Unique: unique}
	for _, no := range nos {
		d.Parts = append(d.Parts, tuple.Part{Field: no, Type: fields[no].Type, Nullable: fields[no].Nullable})
	}
	return d
}

func tableDef() TableDef {
	f := []tuple.Field{
		req("id", tuple.Unsigned), req("name", tuple.String), req("distribution", tuple.Map), req("format", tuple.Array),
		req("schema_version", tuple.Unsigned), req("operable", tuple.Boolean), req("engine", tuple.String),
		req("owner", tuple.Unsigned), req("description", tuple.String), opt("opts", tuple.Array),
	}
	return TableDef{ID: TableTable, Name: "_pico_table", Fields: f, Indexes: []IndexDef{
		index(0, "_pico_table_id", true, f, 0), index(1, "_pico_table_name", true, f, 1),
		index(2, "_pico_table_owner_id", false, f, 7)}}
}

func indexDef() TableDef {
	f := []tuple.Field{
		req("table_id", tuple.Unsigned), req("id", tuple.Unsigned), req("name", tuple.String), req("type", tuple.String),
		req("opts", tuple.Array), req("parts", tuple.Array), req("operable", tuple.Boolean), req("schema_version", tuple.Unsigned),
	}
	return TableDef{ID: TableIndex, Name: "_pico_index", Fields: f, Indexes: []IndexDef{
		index(0, "_pico_index_id", true, f, 0, 1), index(1, "_pico_index_name", true, f, 0, 2),
		index(2, "_pico_index_table_id", false, f, 0)}}
}

func peerAddressDef() TableDef {
	f := []tuple.Field{req("raft_id", tuple.Unsigned), req("address", tuple.String), req("connection_type", tuple.String)}
	return TableDef{ID: TablePeerAddress, Name: "_pico_peer_address", Fields: f, Indexes: []IndexDef{
		index(0, "_pico_peer_address_raft_id", true, f, 0, 2)}}
}

func instanceDef() TableDef {
	f := []tuple.Field{
		req("name", tuple.String), req("uuid", tuple.String), req("raft_id", tuple.Unsigned),
		req("replicaset_name", tuple.String), req("replicaset_uuid", tuple.String),
		req("current_grade", tuple.Array), req("target_grade", tuple.Array),
		req("failure_domain", tuple.Map), req("tier", tuple.String), req("picodata_version", tuple.String),
		opt("sync_incarnation", tuple.Unsigned), opt("target_grade_reason", tuple.String),
		opt("target_grade_change_time", tuple.String), req("data_raft_id", tuple.Unsigned),
		opt("replace_permit", tuple.String),
	}
	return TableDef{ID: TableInstance, Name: "_pico_instance", Fields: f, trailing: 1, Indexes: []IndexDef{
		index(0, "_pico_instance_name", true, f, 0), index(1, "_pico_instance_uuid", true, f, 1),
		index(2, "_pico_instance_raft_id", true, f, 2), index(3, "_pico_instance_replicaset_name", false, f, 3)}}
}

func propertyDef() TableDef {
	f := []tuple.Field{req("key", tuple.String), req("value", tuple.Any)}
	return TableDef{ID: TableProperty, Name: "_pico_property", Fields: f, Indexes: []IndexDef{
		index(0, "_pico_property_key", true, f, 0)}}
}

func replicasetDef() TableDef {
	f := []tuple.Field{
		req("name", tuple.String), req("uuid", tuple.String), req("current_master_name", tuple.String),
		req("target_master_name", tuple.String), req("tier", tuple.String), req("weight", tuple.Double),
		req("weight_origin", tuple.String), req("state", tuple.String), req("current_config_version", tuple.Unsigned),
		req("target_config_version", tuple.Unsigned), req("promotion_vclock", tuple.Map),
		opt("master_change_counter", tuple.Unsigned), opt("current_bucket_state_version", tuple.Unsigned),
		opt("target_bucket_state_version", tuple.Unsigned), req("bootstrap_raft_id", tuple.Unsigned),
		opt("leader_priority", tuple.Array),
	}
	return TableDef{ID: TableReplicaset, Name: "_pico_replicaset", Fields: f, trailing: 1, Indexes: []IndexDef{
		index(0, "_pico_replicaset_name", true, f, 0), index(1, "_pico_replicaset_uuid", true, f, 1)}}
}

func userDef() TableDef {
	f := []tuple.Field{
		req("id", tuple.Unsigned), req("name", tuple.String), req("schema_version", tuple.Unsigned),
		opt("auth", tuple.Array), req("owner", tuple.Unsigned), req("type", tuple.String),
	}
	return TableDef{ID: TableUser, Name: "_pico_user", Fields: f, Indexes: []IndexDef{
		index(0, "_pico_user_id", true, f, 0), index(1, "_pico_user_name", true, f, 1),
		index(2, "_pico_user_owner_id", false, f, 4)}}
}

func privilegeDef() TableDef {
	f := []tuple.Field{
		req("grantor_id", tuple.Unsigned), req("grantee_id", tuple.Unsigned), req("privilege", tuple.String),
		req("object_type", tuple.String), req("object_id", tuple.Integer), req("schema_version", tuple.Unsigned),
	}
	return TableDef{ID: TablePrivilege, Name: "_pico_privilege", Fields: f, Indexes: []IndexDef{
		index(0, "_pico_privilege_primary", true, f, 1, 3, 4, 2), index(1, "_pico_privilege_object", false, f, 3, 4)}}
}

func tierDef() TableDef {
	f := []tuple.Field{
		req("name", tuple.String), req("replication_factor", tuple.Unsigned), req("can_vote", tuple.Boolean),
		req("current_vshard_config_version", tuple.Unsigned), req("target_vshard_config_version", tuple.Unsigned),
		req("vshard_bootstrapped", tuple.Boolean), req("bucket_count", tuple.Unsigned), opt("is_default", tuple.Boolean),
		opt("current_bucket_state_version", tuple.Unsigned), opt("target_bucket_state_version", tuple.Unsigned),
	}
	return TableDef{ID: TableTier, Name: "_pico_tier", Fields: f, Indexes: []IndexDef{
		index(0, "_pico_tier_name", true, f, 0)}}
}

func dbConfigDef() TableDef {
	f := []tuple.Field{req("key", tuple.String), req("scope", tuple.String), req("value", tuple.Any)}
	return TableDef{ID: TableDBConfig, Name: "_pico_db_config", Fields: f, Indexes: []IndexDef{
		index(0, "_pico_db_config_pk", true, f, 0, 1), index(1, "_pico_db_config_key", false, f, 0)}}
}

func schemaObjectDef() TableDef {
	f := []tuple.Field{
		req("space_id", tuple.Unsigned), req("key", tuple.String), req("row", tuple.Array), req("operable", tuple.Boolean),
		req("schema_version", tuple.Unsigned), req("create_version", tuple.Unsigned),
	}
	return TableDef{ID: TableSchemaObject, Name: "_pico_schema_object", Fields: f, Indexes: []IndexDef{
		index(0, "_pico_schema_object_key", true, f, 0, 1)}}
}

// schema is the compiled form of Defs, made once for a State and shared by all its clones; it never changes.
type schema struct {
	tables []tableSchema
	byID   map[uint32]int
}

type tableSchema struct {
	def     TableDef
	format  *tuple.Format
	keys    []*tuple.KeyDef // the parts of each index
	orders  []*tuple.KeyDef // the order of each index: its parts, then those of the primary key unless it is unique
	nkeys   []int           // number of parts of each index
	isValid func(row []byte) error
}

func newSchema() *schema {
	s := &schema{byID: map[uint32]int{}}
	for i, def := range Defs() {
		s.byID[def.ID] = i
		s.tables = append(s.tables, newTableSchema(def))
	}
	return s
}

func newTableSchema(def TableDef) tableSchema {
	t := tableSchema{def: def, isValid: rowCheck(def.ID)}
	for _, ix := range def.Indexes {
		key, err := tuple.NewKeyDef(ix.Parts)
		invariant.Check(err == nil, "catalog: index %s: %v", ix.Name, err)
		order := key
		if !ix.Unique {
			order = key.Merge(t.keys[0])
		}
		t.keys, t.orders, t.nkeys = append(t.keys, key), append(t.orders, order), append(t.nkeys, len(ix.Parts))
	}
	exact := uint32(len(def.Fields))
	if def.trailing > 0 {
		exact = 0 // the check of the row counts
	}
	format, err := tuple.NewFormat(def.Fields, exact, t.keys)
	invariant.Check(err == nil, "catalog: format of %s: %v", def.Name, err)
	t.format = format
	return t
}

// TableName returns the name of a catalog table, or its number if there is none.
func TableName(id uint32) string {
	for _, d := range Defs() {
		if d.ID == id {
			return d.Name
		}
	}
	return fmt.Sprintf("#%d", id)
}
