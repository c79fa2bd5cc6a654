package instance

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// The procedures by which clients work on the catalog, with Picodata's names. What they may do is decided by their rights on
// the tables, as for statements.
const (
	procCAS       = "pico.cas"
	procReadIndex = "pico.raft_read_index"
)

// readIndexTimeout bounds how long raft_read_index waits unless the caller says otherwise.
const readIndexTimeout = 10 * time.Second

// argued is a procedure that takes arguments; it runs on a goroutine of its own.
type argued func(user *box.User, args []byte) ([]byte, error)

func (b *backend) arguedProcedures() map[string]argued {
	return map[string]argued{procCAS: b.callCAS, procReadIndex: b.callReadIndex}
}

// callCAS changes one row of a table of the catalog: [{kind, table, tuple, key, ops}, {index, term, ranges}]. With the second
// argument it is refused if anything that it depends on has changed after that index. It answers, when the change is visible
// here, with the index of its entry and the row.
func (b *backend) callCAS(user *box.User, args []byte) ([]byte, error) {
	list, err := listOf(args)
	if err != nil || len(list) < 1 || len(list) > 2 {
		return nil, errcode.New(errcode.IllegalParams, procCAS+" takes a change and, if it is to be guarded, a predicate")
	}
	req, err := b.changeOf(list[0])
	if err != nil {
		return nil, err
	}
	var p *catalog.Predicate
	if len(list) == 2 && msgpack.TypeOf(list[1][0]) != msgpack.TypeNil {
		p = &catalog.Predicate{}
		if *p, err = b.predicateOf(list[1]); err != nil {
			return nil, err
		}
	}
	res, row, err := b.writeCatalog(req, user, p)
	if err != nil {
		return nil, err
	}
	out := msgpack.AppendUint(msgpack.AppendStr(msgpack.AppendMapHeader(nil, 2), "index"), res.Index)
	if out = msgpack.AppendStr(out, "row"); row == nil {
		return msgpack.AppendNil(out), nil
	}
	return append(out, row...), nil
}

// changeOf makes a statement of a change. Fields in its operations are counted from 1, as everywhere in Lua, or named.
func (b *backend) changeOf(value []byte) (*iproto.Request, error) {
	m, err := mapOf(value, "kind", "table", "tuple", "key", "ops")
	if err != nil {
		return nil, err
	}
	req := &iproto.Request{IndexBase: 1, Tuple: m["tuple"], Key: m["key"], Ops: m["ops"]}
	wants := []string{"key"}
	switch kind := textOf(m["kind"]); kind {
	case "insert", "replace":
		req.Type, wants = iproto.TypeInsert, []string{"tuple"}
		if kind == "replace" {
			req.Type = iproto.TypeReplace
		}
	case "update":
		req.Type, wants = iproto.TypeUpdate, []string{"key", "ops"}
	case "delete":
		req.Type = iproto.TypeDelete
	default:
		return nil, errcode.New(errcode.IllegalParams, "kind is insert, replace, update or delete")
	}
	for _, name := range wants {
		if m[name] == nil || msgpack.TypeOf(m[name][0]) != msgpack.TypeArray {
			return nil, errcode.New(errcode.IllegalParams, "a change of this kind needs the list "+name)
		}
	}
	req.SpaceID, err = b.tableOf(m["table"])
	if err == nil && !isCatalogTable(req.SpaceID) && !b.isGlobal(req.SpaceID) {
		err = errcode.New(errcode.CASTableNotAllowed, b.tableName(req.SpaceID))
	}
	return req, err
}

// tableOf finds a table by its name or its number.
func (b *backend) tableOf(value []byte) (uint32, error) {
	if value != nil {
		if id, _, err := msgpack.ReadUint(value); err == nil && id < 1<<32 {
			return uint32(id), nil
		}
		if name, _, err := msgpack.ReadStr(value); err == nil {
			return b.names.Space(b.c.engine.PublishedSchema(), name)
		}
	}
	return 0, errcode.New(errcode.IllegalParams, "table is the name or the number of a table")
}

func (b *backend) tableName(id uint32) string {
	if sp := b.c.engine.PublishedSchema().Space(id); sp != nil {
		return sp.Name
	}
	return "#" + strconv.FormatUint(uint64(id), 10)
}

// predicateOf reads a predicate. A bound of a range is {kind: included, excluded or unbounded, key}; eq is both at once.
func (b *backend) predicateOf(value []byte) (p catalog.Predicate, err error) {
	m, err := mapOf(value, "index", "term", "ranges")
	if err != nil {
		return p, err
	}
	for name, to := range map[string]*uint64{"index": &p.Index, "term": &p.Term} {
		if m[name] == nil {
			return p, errcode.New(errcode.IllegalParams, "a predicate has the index and the term at which the catalog was read")
		}
		if *to, _, err = msgpack.ReadUint(m[name]); err != nil {
			return p, errcode.New(errcode.IllegalParams, name+" is a number")
		}
	}
	if m["ranges"] == nil {
		return p, nil
	}
	list, err := listOf(m["ranges"])
	if err != nil {
		return p, err
	}
	for _, value := range list {
		r, err := b.rangeOf(value)
		if err != nil {
			return p, err
		}
		p.Ranges = append(p.Ranges, r)
	}
	return p, nil
}

func (b *backend) rangeOf(value []byte) (r catalog.Range, err error) {
	m, err := mapOf(value, "table", "key_min", "key_max", "eq")
	if err != nil {
		return r, err
	}
	if r.Table, err = b.tableOf(m["table"]); err != nil {
		return r, err
	}
	if m["eq"] != nil {
		key, err := keyOf(m["eq"])
		return catalog.Eq(r.Table, key), err
	}
	if r.Min, err = boundOf(m["key_min"]); err == nil {
		r.Max, err = boundOf(m["key_max"])
	}
	return r, err
}

func boundOf(value []byte) (bound catalog.Bound, err error) {
	if value == nil {
		return bound, nil
	}
	m, err := mapOf(value, "kind", "key")
	if err != nil {
		return bound, err
	}
	switch textOf(m["kind"]) {
	case "unbounded":
		return bound, nil
	case "excluded":
		bound.Excluded = true
	case "included":
	default:
		return bound, errcode.New(errcode.IllegalParams, "a bound is included, excluded or unbounded")
	}
	bound.Key, err = keyOf(m["key"])
	return bound, err
}

// keyOf takes the header off a key.
func keyOf(value []byte) ([]byte, error) {
	n, key, err := msgpack.ReadArrayLen(value)
	if err != nil || n == 0 {
		return nil, errcode.New(errcode.IllegalParams, "a key is a list of its parts")
	}
	return key, nil
}

// textOf is a string, empty for what is none.
func textOf(value []byte) string {
	s, _, err := msgpack.ReadStr(value)
	if err != nil {
		return ""
	}
	return string(s)
}

// listOf cuts an array into its values.
func listOf(value []byte) ([][]byte, error) {
	n, rest, err := msgpack.ReadArrayLen(value)
	var list [][]byte
	for ; err == nil && n > 0; n-- {
		at := rest
		if rest, err = msgpack.Skip(at); err == nil {
			list = append(list, at[:len(at)-len(rest)])
		}
	}
	if err != nil {
		return nil, errcode.New(errcode.IllegalParams, "a list is expected")
	}
	return list, nil
}

// mapOf reads a map whose keys are among those that are known. A nil is as if it were not there.
func mapOf(value []byte, known ...string) (map[string][]byte, error) {
	n, rest, err := msgpack.ReadMapLen(value)
	m := map[string][]byte{}
	for ; err == nil && n > 0; n-- {
		var key []byte
		if key, rest, err = msgpack.ReadStr(rest); err != nil {
			break
		}
		at := rest
		if rest, err = msgpack.Skip(at); err != nil {
			break
		}
		found := false
		for _, k := range known {
			found = found || k == string(key)
		}
		if !found {
			return nil, errcode.New(errcode.IllegalParams, fmt.Sprintf("%.64q is not one of %q", key, known))
		}
		if at = at[:len(at)-len(rest)]; msgpack.TypeOf(at[0]) != msgpack.TypeNil {
			m[string(key)] = at
		}
	}
	if err != nil {
		return nil, errcode.New(errcode.IllegalParams, fmt.Sprintf("a map with some of %q is expected", known))
	}
	return m, nil
}

// callReadIndex asks a quorum of the catalog's group for an index, and answers with it when it is applied here: what is read
// here from then on is no older than the call. The argument is how long to wait, in seconds.
func (b *backend) callReadIndex(user *box.User, args []byte) ([]byte, error) {
	if user.ID == catalog.GuestID {
		if err := b.mayCall(user, procReadIndex); err != nil {
			return nil, err
		}
	}
	timeout := readIndexTimeout
	list, err := listOf(args)
	if err == nil && len(list) == 1 {
		var seconds float64
		if seconds, _, err = msgpack.ReadFloat(list[0]); err == nil && seconds > 0 && seconds < timeout.Seconds() {
			timeout = time.Duration(seconds * float64(time.Second))
		}
	}
	if err != nil || len(list) > 1 {
		return nil, errcode.New(errcode.IllegalParams, procReadIndex+" takes a number of seconds to wait, or nothing")
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	index, err := b.readIndex(ctx)
	if err != nil {
		return nil, err
	}
	out := msgpack.AppendUint(msgpack.AppendStr(msgpack.AppendMapHeader(nil, 2), "index"), index)
	return msgpack.AppendUint(msgpack.AppendStr(out, "term"), b.c.catalogLoop.Status().Term), nil
}
