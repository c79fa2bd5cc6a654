package catalog

import (
	"bytes"
	"fmt"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Limits of what goes into the log.
const (
	EntryBytesMax = 16 << 20 // one entry
	OpBytesMax    = 1 << 20  // one operation
	OpsMax        = 4096     // operations of one request, changes of one batch, rights of one grant
	ItemsMax      = 4096     // requests of one entry
	entryVersion  = 1
)

// OpKind says what an operation does.
type OpKind uint8

// The kinds of operations. Their numbers are in the log and never change.
const (
	Nop        OpKind = 0
	Dml        OpKind = 1 // one change of a table
	BatchDml   OpKind = 2 // several, all or none
	CreateUser OpKind = 3
	DropUser   OpKind = 4
	ChangeAuth OpKind = 5
	RenameUser OpKind = 6
	CreateRole OpKind = 7
	DropRole   OpKind = 8
	Grant      OpKind = 9
	Revoke     OpKind = 10
	DDLPrepare OpKind = 11 // begins a change of the schema
	DDLCommit  OpKind = 12 // ends it well
	DDLAbort   OpKind = 13 // takes it back
)

// String names the kind as it is shown in the log of operations.
func (k OpKind) String() string {
	names := [...]string{"Nop", "Dml", "BatchDml", "CreateUser", "DropUser", "ChangeAuth", "RenameUser", "CreateRole",
		"DropRole", "Grant", "Revoke", "DdlPrepare", "DdlCommit", "DdlAbort"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("OpKind(%d)", uint8(k))
}

// Op is one operation on the catalog. Which fields count depends on Kind.
type Op struct {
	Kind OpKind
	DML  []DML // Dml (exactly one), BatchDml
	// User is the subject of the operations on users and roles. CreateUser and CreateRole use ID (0: the next free one),
	// Name, Owner and, for users, Auth; ChangeAuth uses ID and Auth, RenameUser ID and Name, DropUser and DropRole ID.
	User User
	// Privileges is the list of Grant and Revoke. A right that is there already, or not there, is no error.
	Privileges []Privilege
	DDL        DDL // DDLPrepare
	// SchemaVersion is that of the pending change which DDLCommit and DDLAbort end.
	SchemaVersion uint64
	Cause         AbortCause // DDLAbort
}

// DMLKind says what a change does to a row.
type DMLKind uint8

// The kinds of changes. Their numbers are in the log and never change.
const (
	Insert  DMLKind = 1 // Tuple; fails if the key is there
	Replace DMLKind = 2 // Tuple
	Update  DMLKind = 3 // Key and Ops; no row under the key: nothing happens
	Delete  DMLKind = 4 // Key
)

// DML is one change of a row.
type DML struct {
	Kind  DMLKind
	Table uint32
	Tuple []byte // a whole row
	Key   []byte // parts of the primary key, see func Key
	Ops   []byte // update operations as in Tarantool's UPDATE, fields counted from 0
}

// Item is one request inside an entry: operations that are done all together or not at all.
type Item struct {
	Ops       []Op
	Initiator uint32 // id of the user on whose behalf it runs
	ID        RequestID
}

// Entry is what one entry of the catalog's log holds. Term is the term in which the leader computed it.
type Entry struct {
	Term  uint64
	Items []Item
}

// EncodeEntry encodes an entry for the log. Errors: 12005 if a limit is exceeded.
func EncodeEntry(e Entry) ([]byte, error) {
	if len(e.Items) > ItemsMax {
		return nil, errcode.Newf(errcode.TooBig, "%d requests in an entry are over the limit of %d", len(e.Items), ItemsMax)
	}
	b := msgpack.AppendMapHeader(nil, 3)
	b = msgpack.AppendUint(msgpack.AppendUint(b, 0), entryVersion)
	b = msgpack.AppendUint(msgpack.AppendUint(b, 1), e.Term)
	b = msgpack.AppendArrayHeader(msgpack.AppendUint(b, 2), len(e.Items))
	for _, it := range e.Items {
		var err error
		if b, err = appendItem(b, it); err != nil {
			return nil, err
		}
	}
	if len(b) > EntryBytesMax {
		return nil, errcode.New(errcode.TooBig, "Entry of the catalog's log", len(b), EntryBytesMax)
	}
	return b, nil
}

// ItemSize returns the number of bytes that an item takes in an entry, and refuses an item that could not be decoded
// again: an entry that the leader can write and its followers cannot read would stop them. Errors: 12005, 1.
func ItemSize(it Item) (int, error) {
	b, err := appendItem(nil, it)
	if err != nil {
		return 0, err
	}
	r := reader{b: b}
	r.item()
	if err := r.end(); err != nil {
		return 0, errcode.New(errcode.IllegalParams, "operation on the catalog: "+err.Error())
	}
	return len(b), nil
}

func appendItem(b []byte, it Item) ([]byte, error) {
	if len(it.Ops) > OpsMax {
		return nil, errcode.Newf(errcode.TooBig, "%d operations in a request are over the limit of %d", len(it.Ops), OpsMax)
	}
	n := 2
	if it.ID != (RequestID{}) {
		n++
	}
	b = msgpack.AppendMapHeader(b, n)
	b = msgpack.AppendArrayHeader(msgpack.AppendUint(b, 0), len(it.Ops))
	for _, op := range it.Ops {
		from := len(b)
		b = appendOp(b, op)
		if len(b)-from > OpBytesMax {
			return nil, errcode.New(errcode.TooBig, "Operation on the catalog", len(b)-from, OpBytesMax)
		}
		if len(op.DML) > OpsMax || len(op.Privileges) > OpsMax {
			return nil, errcode.Newf(errcode.TooBig, "Operation %s has more than %d parts", op.Kind, OpsMax)
		}
	}
	b = msgpack.AppendUint(msgpack.AppendUint(b, 1), uint64(it.Initiator))
	if n == 3 {
		b = msgpack.AppendBin(msgpack.AppendUint(b, 2), it.ID[:])
	}
	return b, nil
}

// appendOp encodes an operation: a map {0: kind, 1: changes, 2: user, 3: rights, 4: change of the schema, 5: its version and
// cause} with the keys that its kind uses.
func appendOp(b []byte, op Op) []byte {
	switch op.Kind {
	case Nop:
		return msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendMapHeader(b, 1), 0), uint64(op.Kind))
	case Dml, BatchDml:
		b = appendKind(b, op.Kind, 1, len(op.DML))
		for _, d := range op.DML {
			b = appendDML(b, d)
		}
		return b
	case Grant, Revoke:
		b = appendKind(b, op.Kind, 3, len(op.Privileges))
		for _, p := range op.Privileges {
			b = append(b, p.Row()...)
		}
		return b
	case DDLPrepare:
		return appendDDL(appendKind(b, op.Kind, 4, 1), op.DDL)
	case DDLCommit:
		return msgpack.AppendUint(appendKind(b, op.Kind, 5, 1), op.SchemaVersion)
	case DDLAbort:
		b = msgpack.AppendUint(appendKind(b, op.Kind, 5, 4), op.SchemaVersion)
		b = msgpack.AppendUint(b, uint64(op.Cause.Code))
		return msgpack.AppendStr(msgpack.AppendStr(b, op.Cause.Message), op.Cause.Instance)
	}
	b = appendKind(b, op.Kind, 2, 4)
	b = msgpack.AppendUint(b, uint64(op.User.ID))
	b = msgpack.AppendStr(b, op.User.Name)
	b = appendAuth(b, op.User.Auth)
	return msgpack.AppendUint(b, uint64(op.User.Owner))
}

func appendKind(b []byte, kind OpKind, key uint64, n int) []byte {
	b = msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendMapHeader(b, 2), 0), uint64(kind))
	return msgpack.AppendArrayHeader(msgpack.AppendUint(b, key), n)
}

func appendDML(b []byte, d DML) []byte {
	n := 3
	if d.Kind == Update {
		n = 4
	}
	b = msgpack.AppendArrayHeader(b, n)
	b = msgpack.AppendUint(b, uint64(d.Kind))
	b = msgpack.AppendUint(b, uint64(d.Table))
	switch d.Kind {
	case Insert, Replace:
		return msgpack.AppendBin(b, d.Tuple)
	case Update:
		return msgpack.AppendBin(msgpack.AppendBin(b, d.Key), d.Ops)
	}
	return msgpack.AppendBin(b, d.Key)
}

// DecodeEntry decodes an entry of the log. Its byte strings point into b. Bytes that EncodeEntry would not have written
// are refused, so that no two instances can read one entry in two ways.
func DecodeEntry(b []byte) (Entry, error) {
	if len(b) > EntryBytesMax {
		return Entry{}, fmt.Errorf("%w: entry of %d bytes", errBadRow, len(b))
	}
	r := reader{b: b}
	if n := r.mapLen(); n != 3 {
		r.fail("map of 3")
	}
	r.key(0)
	if v := r.uint(); r.err == nil && v != entryVersion {
		return Entry{}, fmt.Errorf("%w: version %d of entries is not known, only %d", errBadRow, v, entryVersion)
	}
	r.key(1)
	e := Entry{Term: r.uint()}
	r.key(2)
	for range r.count(ItemsMax) {
		e.Items = append(e.Items, r.item())
	}
	if err := r.end(); err != nil {
		return Entry{}, err
	}
	if again, err := EncodeEntry(e); err != nil || !bytes.Equal(again, b) {
		return Entry{}, fmt.Errorf("%w: entry is not in its one form", errBadRow)
	}
	return e, nil
}

// key takes a key of a map that must be there.
func (r *reader) key(want uint64) {
	if got := r.uint(); r.err == nil && got != want {
		r.fail(fmt.Sprintf("key %d", want))
	}
}

// count takes the header of an array of at most limit members.
func (r *reader) count(limit int) int {
	n := r.array()
	if n > limit {
		r.fail(fmt.Sprintf("array of at most %d", limit))
		return 0
	}
	return n
}

func (r *reader) item() Item {
	var it Item
	n := r.mapLen()
	r.key(0)
	for range r.count(OpsMax) {
		if r.err != nil {
			return Item{}
		}
		it.Ops = append(it.Ops, r.op())
	}
	r.key(1)
	it.Initiator = r.uint32()
	if n == 3 {
		r.key(2)
		if id := r.bin(); copy(it.ID[:], id) != len(it.ID) || len(id) != len(it.ID) {
			r.fail("request id of 16 bytes")
		}
	}
	return it
}

func (r *reader) op() Op {
	r.mapLen()
	r.key(0)
	op := Op{Kind: OpKind(min(r.uint(), 255))}
	switch op.Kind {
	case Nop:
	case Dml, BatchDml:
		r.key(1)
		for range r.count(OpsMax) {
			if r.err != nil {
				return op
			}
			op.DML = append(op.DML, r.dml())
		}
	case Grant, Revoke:
		r.key(3)
		for range r.count(OpsMax) {
			if r.err != nil {
				return op
			}
			op.Privileges = append(op.Privileges, r.privilege())
		}
	case CreateUser, DropUser, ChangeAuth, RenameUser, CreateRole, DropRole:
		r.key(2)
		r.arrayOf(4)
		op.User = User{ID: r.uint32(), Name: r.str(), Auth: r.auth(), Owner: r.uint32()}
	case DDLPrepare:
		r.key(4)
		r.arrayOf(1)
		op.DDL = r.ddl()
	case DDLCommit:
		r.key(5)
		r.arrayOf(1)
		op.SchemaVersion = r.uint()
	case DDLAbort:
		r.key(5)
		r.arrayOf(4)
		op.SchemaVersion, op.Cause = r.uint(), AbortCause{Code: r.uint32(), Message: r.str(), Instance: r.str()}
	default:
		r.fail("kind of an operation")
	}
	return op
}

func (r *reader) dml() DML {
	n := r.array()
	d := DML{Kind: DMLKind(min(r.uint(), 255)), Table: r.uint32()}
	switch {
	case (d.Kind == Insert || d.Kind == Replace) && n == 3:
		d.Tuple = r.bin()
	case d.Kind == Update && n == 4:
		d.Key, d.Ops = r.bin(), r.bin()
	case d.Kind == Delete && n == 3:
		d.Key = r.bin()
	default:
		r.fail("change of a row")
	}
	return d
}

func (r *reader) privilege() Privilege {
	row := r.raw()
	if r.err != nil {
		return Privilege{}
	}
	p, err := ParsePrivilege(row)
	if err != nil {
		r.err = err
	}
	return p
}
