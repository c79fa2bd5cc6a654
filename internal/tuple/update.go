package tuple

import (
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// UpdateOpsMax is how many operations one UPDATE or UPSERT may have.
const UpdateOpsMax = 4000

// Updater applies updates and keeps its working memory from one to the next, so that it does not allocate. It is for
// one goroutine at a time; the zero value is ready.
type Updater struct{ u updater }

// Update is the function Update.
func (w *Updater) Update(dst, tup, ops []byte, indexBase int, f *Format) ([]byte, error) {
	w.u.upsert = false
	return w.u.update(dst, tup, ops, indexBase, f)
}

// UpsertOps is the function UpsertOps.
func (w *Updater) UpsertOps(dst, tup, ops []byte, indexBase int, f *Format) ([]byte, error) {
	w.u.upsert = true
	return w.u.update(dst, tup, ops, indexBase, f)
}

// Update applies ops, a MessagePack array of operations [op, field, args…], from left to right to tup and appends the
// new tuple to dst. indexBase is the number that the request gives to the first field (0 or 1); f serves to find
// fields by name and may be nil. The result is not checked against the format. tup and ops must be checked bytes;
// dst must not share memory with them. On an error dst comes back as it was.
//
// Errors are those of Tarantool 2.6: 1 and 28 for malformed operations, 25, 26, 29, 37, 95, 160, 201 otherwise.
// Like 2.6, and unlike 3.x, it refuses a second computation on one field (29).
func Update(dst, tup, ops []byte, indexBase int, f *Format) ([]byte, error) {
	return new(updater).update(dst, tup, ops, indexBase, f)
}

// UpsertOps is Update with the rules of UPSERT: an operation that fails on this tuple is left out, malformed ones
// still are errors.
func UpsertOps(dst, tup, ops []byte, indexBase int, f *Format) ([]byte, error) {
	u := updater{upsert: true}
	return u.update(dst, tup, ops, indexBase, f)
}

// CheckOps finds the errors of ops that do not depend on the tuple, as UPSERT does even when it inserts.
func CheckOps(ops []byte, indexBase int, f *Format) error {
	n, b, err := opsLen(ops)
	for i := range n {
		var op operation
		if b, err = op.decode(b, i+1, indexBase, f); err != nil {
			return err
		}
	}
	return err
}

// opsLen reads the number of operations, 0 with an error.
func opsLen(ops []byte) (n int, rest []byte, err error) {
	if len(ops) == 0 || msgpack.TypeOf(ops[0]) != msgpack.TypeArray {
		return 0, nil, errcode.New(errcode.TupleNotArray)
	}
	n, rest, err = msgpack.ReadArrayLen(ops)
	if err != nil {
		return 0, nil, errBody()
	}
	if n > UpdateOpsMax {
		return 0, nil, errcode.New(errcode.IllegalParams, "too many operations for update")
	}
	return n, rest, nil
}

func errBody() error { return errcode.New(errcode.InvalidMsgPack, "packet body") }

// change says what has been done to a field.
type change uint8

const (
	changeNone   change = iota // as in the old tuple, or inserted: may be computed with
	changeSet                  // assigned
	changeNumber               // result of a computation
	changeInside               // changed by a path
)

// run is a stretch of the tuple being made: n fields of the old one from first on, or one field with new bytes.
type run struct {
	data  []byte // nil for fields of the old tuple
	first int32
	n     int32
	state change
	tree  *branch // what operations have done inside of the field, nil if nothing
}

// list holds an array that is being changed as a list of runs, so that shifting elements moves no bytes. There are at most
// twice as many runs as operations.
type list struct {
	tup     []byte   // the array before
	offsets []uint32 // where each element of tup begins, and where the last ends
	runs    []run
	count   int // elements now
}

// updater is the list of the tuple's fields, with what all operations of one request share.
type updater struct {
	list
	scratch []byte // results of computations
	format  *Format
	upsert  bool // operations that fail are left out
}

func (u *updater) update(dst, tup, ops []byte, indexBase int, f *Format) ([]byte, error) {
	n, b, err := opsLen(ops)
	if n > 1 { // a bad one counts before what a good one before it finds; one alone is decoded first anyway
		err = CheckOps(ops, indexBase, f)
	}
	if err != nil {
		return dst, err
	}
	u.open(tup)
	u.format = f
	defer u.reset()
	for i := range n {
		var op operation
		if b, err = op.decode(b, i+1, indexBase, f); err != nil {
			return dst, err
		}
		if err = u.apply(&op); err != nil && !u.upsert {
			return dst, err
		}
	}
	return u.close(dst, f), nil
}

func (l *list) open(tup []byte) {
	n, b := msgpack.ArrayLenTrusted(tup)
	l.tup, l.count = tup, n
	if n+1 > cap(l.offsets) {
		l.offsets = make([]uint32, 0, n+8)
	}
	at := len(tup) - len(b)
	for range n {
		l.offsets = append(l.offsets, uint32(at))
		at += msgpack.SizeTrusted(tup[at:])
	}
	l.offsets = append(l.offsets, uint32(at))
	if n > 0 {
		l.runs = append(l.runs, run{n: int32(n)})
	}
}

// Working memory above this many elements is given back after the update.
const keepMax = 1024

// reset forgets the update and keeps working memory of an ordinary size.
func (u *updater) reset() {
	clear(u.runs)
	*u = updater{list: list{offsets: u.offsets[:0], runs: u.runs[:0]}, scratch: u.scratch[:0]}
	if cap(u.offsets) > keepMax || cap(u.runs) > keepMax || cap(u.scratch) > keepMax {
		*u = updater{}
	}
}

// close appends the finished array. A field that the format declares double gets eight-byte floats even from computations
// that would fit into four.
func (l *list) close(dst []byte, f *Format) []byte {
	dst = msgpack.AppendArrayHeader(dst, l.count)
	at := 0
	for i := range l.runs {
		r := &l.runs[i]
		switch {
		case r.tree != nil:
			dst = r.tree.close(dst)
		case r.data == nil:
			dst = append(dst, l.old(r)...)
		case r.state == changeNumber && r.data[0] == 0xca && f.isDouble(at):
			dst = msgpack.AppendFloat64(dst, msgpack.FloatTrusted(r.data))
		default:
			dst = append(dst, r.data...)
		}
		at += int(r.n)
	}
	return dst
}

func (f *Format) isDouble(i int) bool {
	return f != nil && i < len(f.rules) && f.rules[i].kind == Double
}

func (l *list) old(r *run) []byte { return l.tup[l.offsets[r.first]:l.offsets[r.first+r.n]] }

// bytes returns the present bytes of a single field.
func (l *list) bytes(r *run) []byte {
	if r.data == nil {
		return l.old(r)
	}
	return r.data
}

// cut makes field i (at most count) the first of a run and returns the run's index.
func (l *list) cut(i int) int {
	for j := range l.runs {
		r := &l.runs[j]
		if i == 0 {
			return j
		}
		if i < int(r.n) {
			right := run{first: r.first + int32(i), n: r.n - int32(i)}
			r.n = int32(i)
			l.runs = slices.Insert(l.runs, j+1, right)
			return j + 1
		}
		i -= int(r.n)
	}
	return len(l.runs)
}

// isolate makes field i a run of its own.
func (l *list) isolate(i int) *run {
	j := l.cut(i)
	l.cut(i + 1)
	return &l.runs[j]
}

// adjust turns a negative field number into one from the start and checks that it is below count.
func (op *operation) adjust(count int) error {
	switch i := int(op.field); {
	case i >= 0 && i < count:
		return nil
	case i < 0 && i+count >= 0:
		op.field += int32(count)
		return nil
	}
	return op.errNoField()
}

func (u *updater) apply(op *operation) error {
	if !op.nested() {
		return u.list.apply(u, op)
	}
	if err := op.adjust(u.count); err != nil {
		return err
	}
	l := pathLexer{src: op.path, pos: op.after, seen: utf8.RuneCount(op.path[:op.after])}
	op.wide = u.format.isDoubleWithin(int(op.field), l)
	return u.list.applyInside(u, op, l)
}

// apply applies an operation on the element op.field.
func (l *list) apply(u *updater, op *operation) error {
	switch op.code {
	case '=':
		if int(op.field) >= l.count {
			return l.applyInsert(op)
		}
		if err := op.adjust(l.count); err != nil {
			return err
		}
		r := l.isolate(int(op.field))
		*r = run{data: op.value, n: 1, state: changeSet}
		return nil
	case '!':
		return l.applyInsert(op)
	case '#':
		return l.applyDelete(op)
	}
	if err := op.adjust(l.count); err != nil {
		return err
	}
	r := l.isolate(int(op.field))
	if r.state != changeNone {
		return op.errDouble()
	}
	data, err := u.compute(op, l.bytes(r))
	if err != nil {
		return err
	}
	*r = run{data: data, n: 1, state: changeNumber}
	return nil
}

// compute returns the result of an operation that works on the old value.
func (u *updater) compute(op *operation, old []byte) ([]byte, error) {
	at := len(u.scratch)
	out, err := op.compute(u.scratch, old)
	if err != nil {
		return nil, err
	}
	u.scratch = out
	return out[at:len(out):len(out)], nil
}

func (l *list) applyInsert(op *operation) error {
	if err := op.adjust(l.count + 1); err != nil {
		return err
	}
	l.runs = slices.Insert(l.runs, l.cut(int(op.field)), run{data: op.value, n: 1})
	l.count++
	return nil
}

func (l *list) applyDelete(op *operation) error {
	if err := op.adjust(l.count); err != nil {
		return err
	}
	n := int(min(op.uint, uint64(l.count-int(op.field))))
	from := l.cut(int(op.field))
	to := l.cut(int(op.field) + n)
	l.runs = slices.Delete(l.runs, from, to)
	l.count -= n
	return nil
}

// applyInside applies an operation on a part of the element op.field, which is there; at begins the rest of the path.
func (l *list) applyInside(u *updater, op *operation, at pathLexer) error {
	r := l.isolate(int(op.field))
	if r.state == changeNone && r.tree == nil {
		n := &branch{data: l.bytes(r)}
		if err := n.apply(u, op, at); err != nil {
			return err
		}
		*r = run{data: r.data, first: r.first, n: 1, state: changeInside, tree: n}
		return nil
	}
	if r.tree == nil {
		r.tree = &branch{kind: branchSet, data: l.bytes(r)}
	}
	return r.tree.apply(u, op, at)
}

// operation is one decoded operation.
type operation struct {
	code  byte
	field int32  // from 0, or negative from the end
	path  []byte // how the field was named, nil if by number
	after int    // where in path the part behind the field begins
	value []byte // argument of = and !, paste of :
	arg   number // argument of + and -
	uint  uint64 // argument of & | ^ #
	wide  bool   // a float is written in eight bytes
	// of a splice
	offset, cut int64
}

// nested reports whether the operation works on a part of the field.
func (op *operation) nested() bool { return op.after < len(op.path) }

// decode reads operation number i (from 1) and returns what follows it.
func (op *operation) decode(b []byte, i, indexBase int, f *Format) (rest []byte, err error) {
	if len(b) == 0 {
		return b, errBody()
	}
	if msgpack.TypeOf(b[0]) != msgpack.TypeArray {
		return b, errcode.New(errcode.IllegalParams, "update operation must be an array {op,..}")
	}
	if rest, err = msgpack.Skip(b); err != nil {
		return b, errBody()
	}
	n, b := msgpack.ArrayLenTrusted(b)
	if n < 1 {
		return b, errcode.New(errcode.IllegalParams, "update operation must be an array {op,..}, got empty array")
	}
	if msgpack.TypeOf(b[0]) != msgpack.TypeStr {
		return b, errcode.New(errcode.IllegalParams, "update operation name must be a string")
	}
	name := msgpack.RawTrusted(b)
	want := argCount(name)
	if want == 0 {
		return b, errcode.New(errcode.UnknownUpdateOp, i, "\""+string(name)+"\"")
	}
	if n != want {
		return b, errcode.New(errcode.UnknownUpdateOp, i, "wrong number of arguments, expected "+
			strconv.Itoa(want)+", got "+strconv.Itoa(n))
	}
	op.code = name[0]
	b = msgpack.SkipTrusted(b)
	if err := op.decodeField(b, indexBase, f); err != nil {
		return b, err
	}
	return rest, op.decodeArgs(msgpack.SkipTrusted(b), indexBase)
}

// argCount returns how many elements the operation has, 0 if there is no such operation.
func argCount(name []byte) int {
	if len(name) != 1 {
		return 0
	}
	switch name[0] {
	case '=', '!', '+', '-', '&', '|', '^', '#':
		return 3
	case ':':
		return 5
	}
	return 0
}

func (op *operation) decodeField(b []byte, indexBase int, f *Format) error {
	switch msgpack.TypeOf(b[0]) {
	case msgpack.TypeUint, msgpack.TypeInt:
		i, ok := readInt32(b)
		switch {
		case !ok:
			return op.errArg("an integer")
		case i >= int64(indexBase):
			op.field = int32(i - int64(indexBase))
		case i < 0:
			op.field = int32(i)
		default:
			return errcode.New(errcode.NoSuchFieldNo, i)
		}
		return nil
	case msgpack.TypeStr:
		return op.decodePath(msgpack.RawTrusted(b), f)
	}
	return errcode.New(errcode.IllegalParams, "field id must be a number or a string")
}

// decodePath finds the field that a name or JSON path begins with. A field whose name is the whole text comes first.
func (op *operation) decodePath(path []byte, f *Format) error {
	op.path, op.after = path, len(path)
	if i, ok := f.fieldNo(path); ok {
		op.field = int32(i)
		return nil
	}
	l := pathLexer{src: path}
	t, at := l.next()
	op.after = l.pos
	switch t.kind {
	case tokenBad:
		return op.errPath(at)
	case tokenIndex:
		op.field = t.index
		return nil
	case tokenKey:
		if i, ok := f.fieldNo(t.key); ok {
			op.field = int32(i)
			return nil
		}
	}
	return errcode.New(errcode.NoSuchFieldName, string(path))
}

func (op *operation) decodeArgs(b []byte, indexBase int) error {
	switch op.code {
	case '=', '!':
		op.value = b[:msgpack.SizeTrusted(b)]
	case '+', '-':
		if !op.arg.read(b) {
			return op.errArg("a number")
		}
	case ':':
		return op.decodeSplice(b, indexBase)
	default:
		if msgpack.TypeOf(b[0]) != msgpack.TypeUint {
			return op.errArg("a positive integer")
		}
		op.uint = msgpack.UintTrusted(b)
		if op.code == '#' && op.uint == 0 {
			return errcode.New(errcode.UpdateField, op.name(), "cannot delete 0 fields")
		}
	}
	return nil
}

func (op *operation) decodeSplice(b []byte, indexBase int) error {
	var ok bool
	if op.offset, ok = readInt32(b); !ok {
		return op.errArg("an integer")
	}
	if op.offset >= 0 {
		if op.offset -= int64(indexBase); op.offset < 0 {
			return op.errSplice()
		}
	}
	b = msgpack.SkipTrusted(b)
	if op.cut, ok = readInt32(b); !ok {
		return op.errArg("an integer")
	}
	b = msgpack.SkipTrusted(b)
	if msgpack.TypeOf(b[0]) != msgpack.TypeStr {
		return op.errArg("a string")
	}
	op.value = msgpack.RawTrusted(b)
	return nil
}

// readInt32 reads an integer that fits into 32 bits with sign.
func readInt32(b []byte) (int64, bool) {
	i, _, err := msgpack.ReadInt(b)
	return i, err == nil && i >= math.MinInt32 && i <= math.MaxInt32
}

// name is how error texts call the field: by the text it was named with, or by its number from 1.
func (op *operation) name() string {
	switch {
	case op.path != nil:
		return "'" + string(op.path) + "'"
	case op.field >= 0:
		return strconv.Itoa(int(op.field) + 1)
	}
	return strconv.Itoa(int(op.field))
}

func (op *operation) errArg(needed string) error {
	return errcode.New(errcode.UpdateArgType, op.code, op.name(), needed)
}

func (op *operation) errSplice() error {
	return errcode.New(errcode.UpdateSplice, op.name(), "offset is out of bound")
}

func (op *operation) errDouble() error {
	return errcode.New(errcode.UpdateField, op.name(), "double update of the same field")
}

func (op *operation) errPath(at int) error {
	return errcode.New(errcode.UpdateField, op.name(), "invalid JSON in position "+strconv.Itoa(at))
}

func (op *operation) errNoField() error {
	if op.path != nil {
		return errcode.New(errcode.NoSuchFieldName, op.name())
	}
	i := int(op.field)
	if i >= 0 {
		i++
	}
	return errcode.New(errcode.NoSuchFieldNo, i)
}
