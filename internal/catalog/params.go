package catalog

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Keys of _pico_db_config. ConfWALMode has a tier as scope, all others "".
const (
	ConfAutoOfflineTimeout  = "auto_offline_timeout"
	ConfElectionTimeout     = "election_timeout"
	ConfWALMode             = "wal_mode"
	ConfGovernorAutoreturn  = "governor_autoreturn"
	ConfGovernorRaftTimeout = "governor_raft_op_timeout"
	ConfGovernorRPCTimeout  = "governor_common_rpc_timeout"
	ConfGovernorDDLTimeout  = "governor_ddl_rpc_timeout"
	ConfRaftWALCountMax     = "raft_wal_count_max"
	ConfSnapshotChunkMax    = "raft_snapshot_chunk_size_max"
)

// ParamType says what a parameter's value is.
type ParamType uint8

// The types of parameters.
const (
	ParamSeconds ParamType = 1 // a number, integer or double
	ParamCount   ParamType = 2 // an unsigned integer
	ParamBytes   ParamType = 3 // an unsigned integer
	ParamFlag    ParamType = 4 // true or false
	ParamChoice  ParamType = 5 // one of some words
)

// Param is a parameter of the whole cluster, or of a tier.
type Param struct {
	Key     string
	Type    ParamType
	PerTier bool // its scope is a tier
	Fixed   bool // set when the cluster is made, never later
	// Min and Max bound seconds, counts and bytes, both inclusive.
	Min, Max float64
	Choices  []string
	// Default is a float64, uint64, bool or string.
	Default any
	Doc     string // one sentence
}

// Params returns all parameters in the order in which they are documented.
func Params() []Param {
	const day = 24 * 3600
	return []Param{
		{Key: ConfAutoOfflineTimeout, Type: ParamSeconds, Min: 0.1, Max: day, Default: 5.0,
			Doc: "Silence after which an instance is marked Offline."},
		{Key: ConfElectionTimeout, Type: ParamSeconds, Fixed: true, Min: 0.05, Max: 600, Default: 1.0,
			Doc: "Silence after which a raft group replaces its leader."},
		{Key: ConfWALMode, Type: ParamChoice, PerTier: true, Fixed: true, Choices: []string{"fsync", "write", "none"},
			Default: "fsync", Doc: "When a write to the tier is acknowledged: after its sync, after its write, at once."},
		{Key: ConfGovernorAutoreturn, Type: ParamFlag, Default: false,
			Doc: "The lead of a replicaset goes back to its appointed instance when that is Online again."},
		{Key: ConfGovernorRaftTimeout, Type: ParamSeconds, Min: 0.1, Max: 3600, Default: 3.0,
			Doc: "Longest time in which the governor records a step in the catalog before it plans anew."},
		{Key: ConfGovernorRPCTimeout, Type: ParamSeconds, Min: 0.1, Max: 3600, Default: 3.0,
			Doc: "Longest time in which an instance carries out an order of the governor."},
		{Key: ConfGovernorDDLTimeout, Type: ParamSeconds, Min: 0.1, Max: day, Default: 30.0,
			Doc: "Longest time in which the leader of a replicaset prepares a change of the schema before it is asked again."},
		{Key: ConfRaftWALCountMax, Type: ParamCount, Min: 100, Max: 1e6, Default: uint64(10_000),
			Doc: "Entries of the catalog's log after which its snapshot is written and the log behind it is dropped."},
		{Key: ConfSnapshotChunkMax, Type: ParamBytes, Min: 4 << 10, Max: 16 << 20, Default: uint64(1 << 20),
			Doc: "Size of one part of a snapshot that an instance fetches from another."},
	}
}

func paramOf(key string) (Param, bool) {
	for _, p := range Params() {
		if p.Key == key {
			return p, true
		}
	}
	return Param{}, false
}

// value encodes the default as it stands in a row.
func (p Param) value() []byte {
	switch v := p.Default.(type) {
	case float64:
		return msgpack.AppendFloat64(nil, v)
	case uint64:
		return msgpack.AppendUint(nil, v)
	case bool:
		return msgpack.AppendBool(nil, v)
	}
	return msgpack.AppendStr(nil, p.Default.(string))
}

// check takes a value that is allowed, and says what would be otherwise.
func (p Param) check(r *reader) {
	var v float64
	switch p.Type {
	case ParamFlag:
		r.bool()
		return
	case ParamChoice:
		if word := r.str(); !slices.Contains(p.Choices, word) {
			r.fail(p.rangeText())
		}
		return
	case ParamSeconds:
		v = r.number()
	default:
		v = float64(r.uint())
	}
	if r.err == nil && (math.IsNaN(v) || v < p.Min || v > p.Max) {
		r.fail(p.rangeText())
	}
}

// rangeText describes the values that are allowed.
func (p Param) rangeText() string {
	switch p.Type {
	case ParamFlag:
		return "true or false"
	case ParamChoice:
		last := len(p.Choices) - 1
		return strings.Join(p.Choices[:last], ", ") + " or " + p.Choices[last]
	case ParamSeconds:
		return fmt.Sprintf("number of seconds from %v to %v", p.Min, p.Max)
	}
	return fmt.Sprintf("number of %s from %.0f to %.0f", map[ParamType]string{ParamCount: "entries", ParamBytes: "bytes"}[p.Type], p.Min, p.Max)
}

// checkParam refuses a change of a parameter that a request may not make: another value than those allowed, one that is
// fixed when the cluster is made, or one that is not known. It is asked of the leader alone: an entry that an instance of
// a newer version has proposed is applied as it is.
func checkParam(d DML) error {
	if d.Kind != Insert && d.Kind != Replace {
		return errcode.Newf(errcode.CASTableNotAllowed, "Parameters are set by whole rows, and never deleted")
	}
	bad := func(err error) error {
		return errcode.New(errcode.IllegalParams, fmt.Sprintf("row of _pico_db_config: %v", err))
	}
	c, err := ParseDBConfig(d.Tuple)
	if err != nil {
		return bad(err)
	}
	p, ok := paramOf(c.Key)
	switch {
	case !ok:
		return bad(fmt.Errorf("there is no parameter %.*q", nameBytesMax, c.Key))
	case p.Fixed:
		return errcode.Newf(errcode.CASTableNotAllowed, "Parameter %s is fixed when the cluster is made", p.Key)
	}
	if err := p.checkRow(c); err != nil {
		return bad(err)
	}
	return nil
}

// checkRow checks scope and value.
func (p Param) checkRow(c DBConfig) error {
	r := reader{b: c.Value}
	p.check(&r)
	switch {
	case p.PerTier && c.Scope == "":
		r.fail("name of a tier as scope")
	case !p.PerTier && c.Scope != "":
		r.fail("empty scope")
	}
	return r.end()
}

// param finds the value of a parameter: the row's, else the default, which holds in catalogs that are older than the
// parameter, and where a newer version has written what this one does not understand.
func (s *State) param(key, scope string, want ParamType) *reader {
	p, ok := paramOf(key)
	invariant.Check(ok && p.Type == want, "catalog: parameter %q is not of type %d", key, want)
	if c, ok := one(ParseDBConfig, s.find(TableDBConfig, 0, Key(key, scope))); ok && p.checkRow(c) == nil {
		return &reader{b: c.Value}
	}
	return &reader{b: p.value()}
}

// Seconds returns a parameter of type ParamSeconds.
func (s *State) Seconds(key string) time.Duration {
	return time.Duration(s.param(key, "", ParamSeconds).number() * float64(time.Second))
}

// Count returns a parameter of type ParamCount.
func (s *State) Count(key string) uint64 { return s.param(key, "", ParamCount).uint() }

// Bytes returns a parameter of type ParamBytes.
func (s *State) Bytes(key string) uint64 { return s.param(key, "", ParamBytes).uint() }

// Flag returns a parameter of type ParamFlag.
func (s *State) Flag(key string) bool { return s.param(key, "", ParamFlag).bool() }

// WALMode returns the mode in which a tier's data groups write their log.
func (s *State) WALMode(tier string) string { return s.param(ConfWALMode, tier, ParamChoice).str() }

// SetParam changes a parameter of the whole cluster at run time; value is one MessagePack value. Every instance has it as
// soon as it has applied the entry. Errors: 1 no such parameter or a value that is not allowed, 10009 fixed.
func SetParam(s *State, key string, value []byte) (Op, Predicate, error) {
	op := Op{Kind: Dml, DML: []DML{{Kind: Replace, Table: TableDBConfig, Tuple: DBConfig{Key: key, Value: value}.Row()}}}
	return op, Unchanged(s), CheckTables([]Op{op})
}

// defaultRows are the parameters of a new cluster that nobody gave.
func defaultRows() []tableRow {
	var rows []tableRow
	for _, p := range Params() {
		if !p.Fixed && p.Key != ConfAutoOfflineTimeout {
			rows = append(rows, tableRow{TableDBConfig, DBConfig{Key: p.Key, Value: p.value()}.Row()})
		}
	}
	return rows
}

// ParamsMarkdown writes the reference page docs/cluster-parameters.md.
func ParamsMarkdown() string {
	var b strings.Builder
	b.WriteString("<!-- Written from internal/catalog/params.go by go test ./internal/catalog -run Markdown -rewrite. -->\n\n" +
		"# Parameters of the cluster\n\nThey are rows of `_pico_db_config` (id 431): key, scope, value. The scope of a " +
		"parameter of a tier is its name, that of the\nothers is empty. A change is an entry of the catalog's log and holds " +
		"on every instance as soon as that has applied it; no restart.\nA *fixed* one is set when the cluster is made. An administrator " +
		"changes the others on any instance with INSERT, REPLACE, UPDATE\nor UPSERT; what is not allowed is refused with error 1 or 10009. " +
		"`lycosa run` has parameters of its own, for one process each ([parameters](parameters.md)).\n\n" +
		"| key | scope | value | default | fixed | meaning |\n|---|---|---|---|---|---|\n")
	for _, p := range Params() {
		scope, fixed := "cluster", "no"
		if p.PerTier {
			scope = "tier"
		}
		if p.Fixed {
			fixed = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%v` | %s | %s |\n", p.Key, scope, p.rangeText(), p.Default, fixed, p.Doc)
	}
	return b.String()
}
