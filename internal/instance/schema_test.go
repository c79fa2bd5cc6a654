package instance

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
)

// A statement on _space or _index is that change of the catalog which makes its row.
func TestStatementsAsChanges(t *testing.T) {
	s := bootstrapped(t)
	table := catalog.SchemaTable{ID: 512, Name: "t", Engine: "memtx", Owner: catalog.AdminID}
	index := catalog.SchemaIndex{TableID: 512, Name: "pk", Type: "tree"}
	want := func(space uint32, kind catalog.RowKind, row []byte, ddl catalog.DDLKind) {
		t.Helper()
		d, err := ddlOf(s, space, kind, row)
		if err != nil || d.Kind != ddl || d.TableID() != 512 {
			t.Errorf("a statement of kind %v on space %d: change %d of table %d, %v", kind, space, d.Kind, d.TableID(), err)
		}
	}
	want(dictionary.SpaceSpace, catalog.RowReplace, table.SpaceRow(), catalog.CreateTable)
	want(dictionary.SpaceIndex, catalog.RowInsert, index.IndexRow(), catalog.CreateIndex)
	op, _, v, err := catalog.PlanDDL(s, catalog.DDL{Kind: catalog.CreateTable, Table: table, Indexes: []catalog.SchemaIndex{index}})
	if err != nil {
		t.Fatal(err)
	}
	at, term := s.Position()
	for _, op := range []catalog.Op{op, {Kind: catalog.DDLCommit, SchemaVersion: v}} {
		at++
		if _, _, err := s.Execute(at, term, catalog.Item{Ops: []catalog.Op{op}}); err != nil {
			t.Fatal(err)
		}
	}
	want(dictionary.SpaceSpace, catalog.RowReplace, table.SpaceRow(), catalog.AlterTable)
	want(dictionary.SpaceSpace, catalog.RowDelete, table.SpaceRow(), catalog.DropTable)
	want(dictionary.SpaceIndex, catalog.RowReplace, index.IndexRow(), catalog.AlterIndex)
	want(dictionary.SpaceIndex, catalog.RowDelete, index.IndexRow(), catalog.DropIndex)
	for _, space := range []uint32{dictionary.SpaceSpace, dictionary.SpaceIndex} {
		if _, err := ddlOf(s, space, catalog.RowInsert, []byte{0x91, 0x01}); !errcode.Is(err, errcode.InvalidMsgPack) {
			t.Errorf("a row that is none: %v", err)
		}
	}
}

// rowReader is a _schema of one row.
type rowReader []byte

func (r rowReader) Select(_ *box.Query, out []byte) ([]byte, int, error) {
	return append(out, r...), 1, nil
}

// What a replicaset notes is read again; what is not of that form counts as nothing.
func TestNotesOfTheSchema(t *testing.T) {
	c := newCore(datadir.Identity{}, bootstrapped(t))
	row := followedRow(1<<40, []uint32{700, 512, 1 << 30}, []uint32{3, 1})
	note, err := c.readNote(rowReader(row), keyFollowed)
	if want := (schemaNote{1 << 40, []uint32{512, 700, 1 << 30}, []uint32{1, 3}}); err != nil || !reflect.DeepEqual(note, want) {
		t.Errorf("%v, %v", note, err)
	}
	if note, err := c.readNote(rowReader(preparedRow(7)), keyPrepared); err != nil || note.version != 7 {
		t.Errorf("%v, %v", note, err)
	}
	for _, row := range [][]byte{{0x91, 0xa0}, {0x92, 0xa0, 0xa0}, {0x93, 0xa0, 0x00, 0xa0}, {0x93, 0xa0, 0x00, 0x91, 0xa0}} {
		if note, err := c.readNote(rowReader(row), keyFollowed); !reflect.DeepEqual(note, schemaNote{}) || err != nil {
			t.Errorf("%x: %v, %v", row, note, err)
		}
	}
}

// The first error among the answers is the outcome, when all have come.
func TestOutcome(t *testing.T) {
	o := &outcome{left: 3, done: make(chan struct{})}
	ok := iproto.AppendData(nil, 0, 1)
	o.Complete(ok)
	o.Complete(append(iproto.AppendError(nil, 1, 1, errcode.New(errcode.NoSuchSpace, "s")), iproto.AppendError(nil, 2, 1, errcode.New(errcode.Shutdown))...))
	<-o.done
	if !errcode.Is(o.err, errcode.NoSuchSpace) {
		t.Error(o.err)
	}
	o.Complete(bytes.Repeat(ok, 2)) // too many do no harm
}
