package catalog

import (
	"bytes"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// FirstTableID is the lowest id that a user's table may have, as in Tarantool.
const FirstTableID uint32 = 512

// The limits of a table.
const (
	tableIDMax   = 1<<31 - 1
	indexIDMax   = 127
	indexesMax   = 128
	schemaTexts  = 65000 // bytes of a name or description
	schemaValues = 512 << 10
)

// SchemaTable is a row of _pico_table: a table as all replicasets that hold it shall have it.
type SchemaTable struct {
	ID   uint32
	Name string
	// Distribution says where its rows are, a map as Picodata writes it ({"Global": null}, {"ShardedImplicitly": […]}); nil
	// is the empty map: each replicaset has rows of its own.
	Distribution []byte
	Format       []byte // array of fields as in Tarantool's _space; nil is the empty one
	// SchemaVersion is that of the last change. CreateVersion is that in which it was created: a table with the same id
	// and another one is another table, whose rows must not be kept. TruncateVersion is that of the last truncation, 0 if
	// there was none.
	SchemaVersion, CreateVersion, TruncateVersion uint64
	Operable                                      bool // no change of it is pending: it may be written
	Engine                                        string
	Owner                                         uint32
	Description                                   string
	FieldCount                                    uint32 // 0: any
	Flags                                         []byte // options as in Tarantool's _space; nil is the empty map
}

// Row encodes the table as a tuple of _pico_table.
func (t SchemaTable) Row() []byte {
	b := msgpack.AppendArrayHeader(nil, 10)
	b = msgpack.AppendUint(b, uint64(t.ID))
	b = msgpack.AppendStr(b, t.Name)
	b = appendRaw(b, t.Distribution, emptyMap)
	b = appendRaw(b, t.Format, emptyArray)
	b = msgpack.AppendUint(b, t.SchemaVersion)
	b = msgpack.AppendBool(b, t.Operable)
	b = msgpack.AppendStr(b, t.Engine)
	b = msgpack.AppendUint(b, uint64(t.Owner))
	b = msgpack.AppendStr(b, t.Description)
	b = msgpack.AppendMapHeader(msgpack.AppendArrayHeader(b, 1), 4)
	b = msgpack.AppendUint(msgpack.AppendStr(b, "field_count"), uint64(t.FieldCount))
	b = appendRaw(msgpack.AppendStr(b, "flags"), t.Flags, emptyMap)
	b = msgpack.AppendUint(msgpack.AppendStr(b, "create_version"), t.CreateVersion)
	return msgpack.AppendUint(msgpack.AppendStr(b, "truncate_version"), t.TruncateVersion)
}

const (
	emptyMap   = 0x80
	emptyArray = 0x90
)

func appendRaw(dst, raw []byte, otherwise byte) []byte {
	if len(raw) == 0 {
		return append(dst, otherwise)
	}
	return append(dst, raw...)
}

// ParseSchemaTable decodes a row of _pico_table. Its byte strings are copies; empty maps and arrays are nil.
func ParseSchemaTable(row []byte) (SchemaTable, error) {
	r := reader{b: row}
	t := r.schemaTable()
	return t, r.end()
}

func (r *reader) schemaTable() SchemaTable {
	r.arrayOf(10)
	t := SchemaTable{ID: r.uint32(), Name: r.str()}
	t.Distribution, t.Format = r.rawOf(msgpack.TypeMap), r.rawOf(msgpack.TypeArray)
	t.SchemaVersion, t.Operable, t.Engine, t.Owner, t.Description = r.uint(), r.bool(), r.str(), r.uint32(), r.str()
	r.arrayOf(1)
	if r.mapLen() != 4 {
		r.fail("map of 4")
	}
	r.word("field_count")
	t.FieldCount = r.uint32()
	r.word("flags")
	t.Flags = r.rawOf(msgpack.TypeMap)
	r.word("create_version")
	t.CreateVersion = r.uint()
	r.word("truncate_version")
	t.TruncateVersion = r.uint()
	return t
}

// rawOf takes a map or an array as bytes, nil if it is empty.
func (r *reader) rawOf(want msgpack.Type) []byte {
	v := r.raw()
	if r.err != nil {
		return nil
	}
	if msgpack.TypeOf(v[0]) != want {
		r.fail(want.String())
		return nil
	}
	if len(v) == 1 && (v[0] == emptyMap || v[0] == emptyArray) {
		return nil
	}
	return bytes.Clone(v)
}

// word takes a string that must be there.
func (r *reader) word(want string) {
	if got := r.str(); r.err == nil && got != want {
		r.fail(want)
	}
}

// The option of _space by which a client says, and sees, that a table is global. In _pico_table it is the distribution.
const (
	flagDistribution   = "distribution"
	distributionGlobal = "global"
)

// SpaceRow returns the row of Tarantool's _space that a replicaset keeps for the table. The distribution of a global one is
// the last of its options.
func (t SchemaTable) SpaceRow() []byte {
	b := msgpack.AppendArrayHeader(nil, 7)
	b = msgpack.AppendUint(msgpack.AppendUint(b, uint64(t.ID)), uint64(t.Owner))
	b = msgpack.AppendStr(msgpack.AppendStr(b, t.Name), t.Engine)
	b = msgpack.AppendUint(b, uint64(t.FieldCount))
	if t.IsGlobal() {
		n, pairs, _ := msgpack.ReadMapLen(appendRaw(nil, t.Flags, emptyMap))
		b = append(msgpack.AppendMapHeader(b, n+1), pairs...)
		b = msgpack.AppendStr(msgpack.AppendStr(b, flagDistribution), distributionGlobal)
	} else {
		b = appendRaw(b, t.Flags, emptyMap)
	}
	return appendRaw(b, t.Format, emptyArray)
}

// TableOfSpaceRow makes a table of a row of Tarantool's _space: [id, owner, name, engine, field_count, flags, format].
func TableOfSpaceRow(row []byte) (SchemaTable, error) {
	r := reader{b: row}
	r.arrayOf(7)
	t := SchemaTable{ID: r.uint32(), Owner: r.uint32(), Name: r.str(), Engine: r.str(), FieldCount: r.uint32()}
	t.takeFlags(&r)
	t.Format = r.rawOf(msgpack.TypeArray)
	return t, r.end()
}

// takeFlags takes the options of a space apart: its distribution, and all others in their order.
func (t *SchemaTable) takeFlags(r *reader) {
	flags := r.rawOf(msgpack.TypeMap)
	if r.err != nil || flags == nil {
		return
	}
	f := reader{b: flags}
	var rest []byte
	left := 0
	for range f.mapLen() {
		pair := f.b
		if msgpack.TypeOf(pair[0]) == msgpack.TypeStr {
			if key := f.str(); key == flagDistribution {
				f.word(distributionGlobal)
				t.Distribution = GlobalDistribution()
				continue
			}
		} else {
			f.raw() // what is no name is judged elsewhere
		}
		f.raw()
		if f.err != nil {
			break
		}
		rest, left = append(rest, pair[:len(pair)-len(f.b)]...), left+1
	}
	if err := f.end(); err != nil {
		r.fail("options of a space")
		return
	}
	if left > 0 {
		t.Flags = append(msgpack.AppendMapHeader(nil, left), rest...)
	}
}

// DeclaresGlobal reports whether a row of _space that a client writes is that of a global table.
func DeclaresGlobal(row []byte) bool {
	t, err := TableOfSpaceRow(row)
	return err == nil && t.IsGlobal()
}

// SchemaIndex is a row of _pico_index. Names are unique within a table.
type SchemaIndex struct {
	TableID, ID   uint32
	Name, Type    string
	Opts          []byte // options as in Tarantool's _index; nil is the empty map
	Parts         []byte // array of parts as in Tarantool's _index
	Operable      bool
	SchemaVersion uint64
}

// Row encodes the index as a tuple of _pico_index.
func (i SchemaIndex) Row() []byte {
	b := msgpack.AppendArrayHeader(nil, 8)
	b = msgpack.AppendUint(msgpack.AppendUint(b, uint64(i.TableID)), uint64(i.ID))
	b = msgpack.AppendStr(msgpack.AppendStr(b, i.Name), i.Type)
	b = appendRaw(msgpack.AppendArrayHeader(b, 1), i.Opts, emptyMap)
	b = appendRaw(b, i.Parts, emptyArray)
	return msgpack.AppendUint(msgpack.AppendBool(b, i.Operable), i.SchemaVersion)
}

// ParseSchemaIndex decodes a row of _pico_index. Its byte strings are copies; empty maps and arrays are nil.
func ParseSchemaIndex(row []byte) (SchemaIndex, error) {
	r := reader{b: row}
	i := r.schemaIndex()
	return i, r.end()
}

func (r *reader) schemaIndex() SchemaIndex {
	r.arrayOf(8)
	i := SchemaIndex{TableID: r.uint32(), ID: r.uint32(), Name: r.str(), Type: r.str()}
	r.arrayOf(1)
	i.Opts, i.Parts = r.rawOf(msgpack.TypeMap), r.rawOf(msgpack.TypeArray)
	i.Operable, i.SchemaVersion = r.bool(), r.uint()
	return i
}

// IndexRow returns the row of Tarantool's _index that a replicaset keeps for the index.
func (i SchemaIndex) IndexRow() []byte {
	b := msgpack.AppendArrayHeader(nil, 6)
	b = msgpack.AppendUint(msgpack.AppendUint(b, uint64(i.TableID)), uint64(i.ID))
	b = msgpack.AppendStr(msgpack.AppendStr(b, i.Name), i.Type)
	return appendRaw(appendRaw(b, i.Opts, emptyMap), i.Parts, emptyArray)
}

// IndexOfIndexRow makes an index of a row of Tarantool's _index: [id, iid, name, type, opts, parts].
func IndexOfIndexRow(row []byte) (SchemaIndex, error) {
	r := reader{b: row}
	r.arrayOf(6)
	i := SchemaIndex{TableID: r.uint32(), ID: r.uint32(), Name: r.str(), Type: r.str()}
	i.Opts, i.Parts = r.rawOf(msgpack.TypeMap), r.rawOf(msgpack.TypeArray)
	return i, r.end()
}

// SchemaTable returns the table with that id, one that is being created included.
func (s *State) SchemaTable(id uint32) (SchemaTable, bool) {
	return one(ParseSchemaTable, s.find(TableTable, 0, Key(id)))
}

// SchemaTableByName returns the table of that name, one that is being created included.
func (s *State) SchemaTableByName(name string) (SchemaTable, bool) {
	return one(ParseSchemaTable, s.find(TableTable, 1, Key(name)))
}

// SchemaTables returns all tables by id.
func (s *State) SchemaTables() []SchemaTable { return all(s, TableTable, ParseSchemaTable) }

// SchemaIndex returns an index of a table.
func (s *State) SchemaIndex(table, id uint32) (SchemaIndex, bool) {
	return one(ParseSchemaIndex, s.find(TableIndex, 0, Key(table, id)))
}

// SchemaIndexes returns the indexes of a table by id.
func (s *State) SchemaIndexes(table uint32) []SchemaIndex {
	var out []SchemaIndex
	s.scan(TableIndex, 2, Key(table), func(row []byte) bool {
		out = append(out, must(ParseSchemaIndex, row))
		return true
	})
	return out
}
