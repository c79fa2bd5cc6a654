package tuple

import (
	"bytes"
	"slices"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// A branch is a value inside of which operations change parts. The first operation leaves the value whole (branchBar);
// when a second one goes another way, the array or map where the ways part is opened (branchArray, branchMap), and the
// values above it become the way to it (branchRoute). Tarantool does the same, which decides the errors, and the order
// in which the pairs of an opened map are written.
type branch struct {
	kind branchKind
	data []byte // the value before, or what it was set to

	// branchBar: the operation, the rest of its path, and the value with it applied.
	op  operation
	way pathLexer
	out []byte
	// branchRoute: the path to what is opened, and where that stands in data.
	route      []token
	start, end int
	child      *branch
	// branchArray
	list *list
	// branchMap
	items []mapItem
	count int
}

type branchKind uint8

const (
	branchPlain branchKind = iota
	branchSet
	branchBar
	branchRoute
	branchArray
	branchMap
)

// mapItem is a pair that operations have named, with the pairs behind it that none has named yet.
type mapItem struct {
	key   []byte // with its header; nil if the pair is gone
	value *branch
	tail  []byte
}

// apply applies an operation on a part of the value; at begins the path to it, which is not empty.
func (b *branch) apply(u *updater, op *operation, at pathLexer) error {
	switch b.kind {
	case branchPlain:
		return b.applyPlain(op, at)
	case branchArray:
		return b.applyArray(u, op, at)
	case branchMap:
		return b.applyMap(u, op, at)
	case branchSet:
		if t, pos := at.next(); t.kind == tokenBad {
			return op.errPath(pos)
		}
		return op.errDouble()
	}
	return b.fork(u, op, at)
}

func (b *branch) applyPlain(op *operation, at pathLexer) error {
	p, err := op.locate(b.data, at)
	if err != nil {
		return err
	}
	out, err := op.rewrite(b.data, p)
	if err != nil {
		return err
	}
	b.kind, b.op, b.way, b.out = branchBar, *op, at, out
	return nil
}

func (b *branch) applyArray(u *updater, op *operation, at pathLexer) error {
	t, pos := at.next()
	switch t.kind {
	case tokenBad:
		return op.errPath(pos)
	case tokenEnd:
		return op.errNoField()
	case tokenKey, tokenAny:
		return errcode.New(errcode.UpdateField, op.name(), "can't update an array by a non-numeric index")
	}
	element := *op
	element.field = t.index
	if at.pos == len(at.src) {
		return b.list.apply(u, &element)
	}
	if int(t.index) >= b.list.count {
		return op.errNoField()
	}
	return b.list.applyInside(u, &element, at)
}

func (b *branch) applyMap(u *updater, op *operation, at pathLexer) error {
	t, pos := at.next()
	switch t.kind {
	case tokenBad:
		return op.errPath(pos)
	case tokenEnd:
		return op.errNoField()
	case tokenIndex, tokenAny:
		return errcode.New(errcode.UpdateField, op.name(), "can't update a map by not a string key")
	}
	if at.pos < len(at.src) {
		item := b.item(t.key)
		if item == nil {
			return op.errNoField()
		}
		return item.value.apply(u, op, at)
	}
	return b.applyPair(u, op, t.key)
}

// applyPair applies an operation on the pair with the given key.
func (b *branch) applyPair(u *updater, op *operation, key []byte) error {
	if op.code == '#' && op.uint != 1 {
		return errcode.New(errcode.UpdateField, op.name(), "can delete only 1 field from a map in a row")
	}
	item := b.item(key)
	switch {
	case op.code == '#':
		if item != nil {
			item.key = nil
			b.count--
		}
		return nil
	case op.code == '=' && item != nil:
		item.value = &branch{kind: branchSet, data: op.value}
		return nil
	case op.code == '!' && item != nil:
		return errcode.New(errcode.UpdateField, op.name(), "the key exists already")
	case op.code == '=' || op.code == '!':
		b.items = slices.Insert(b.items, 0, mapItem{key: msgpack.AppendStrBytes(nil, key), value: &branch{data: op.value}})
		b.count++
		return nil
	case item == nil:
		return op.errNoField()
	case item.value.kind != branchPlain:
		return op.errDouble()
	}
	data, err := u.compute(op, item.value.data)
	if err == nil {
		item.value = &branch{kind: branchSet, data: data}
	}
	return err
}

// item finds the pair with the given key and makes it an item; nil if there is none. A new item goes in front of the
// others and takes along the pairs behind it, except that it takes the place of a pair that is gone right before it.
func (b *branch) item(key []byte) *mapItem {
	for i := range b.items {
		it := &b.items[i]
		if it.key != nil && bytes.Equal(msgpack.RawTrusted(it.key), key) {
			return it
		}
		for rest := it.tail; len(rest) > 0; {
			value := msgpack.SkipTrusted(rest)
			next := msgpack.SkipTrusted(value)
			if keyIs(rest, token{kind: tokenKey, key: key}) {
				before := it.tail[:len(it.tail)-len(rest)]
				found := mapItem{key: rest[:len(rest)-len(value)], value: &branch{data: value[:len(value)-len(next)]}, tail: next}
				if it.key == nil && len(before) == 0 {
					*it = found
					return it
				}
				it.tail = before
				b.items = slices.Insert(b.items, 0, found)
				return &b.items[0]
			}
			rest = next
		}
	}
	return nil
}

// walker follows the way of what was done before: the path of an operation, or a route.
type walker struct {
	path  pathLexer
	route []token
}

func (b *branch) walker() walker {
	if b.kind == branchRoute {
		return walker{route: b.route}
	}
	return walker{path: b.way}
}

func (w *walker) next() token {
	if len(w.route) > 0 {
		t := w.route[0]
		w.route = w.route[1:]
		return t
	}
	t, _ := w.path.next()
	return t
}

// fork finds where the path of an operation parts from the way of those before it, opens the array or map that is
// there, and applies the operation to that.
func (b *branch) fork(u *updater, op *operation, at pathLexer) error {
	known := b.walker()
	var prefix []token
	for {
		rest, here := known, at
		old := known.next()
		t, pos := at.next()
		switch {
		case t.kind == tokenBad:
			return op.errPath(pos)
		case old.kind == tokenEnd && b.kind == branchRoute:
			return b.child.apply(u, op, here)
		case old.kind == tokenEnd && t.kind == tokenKey:
			return op.errNoField()
		case old.kind == tokenEnd:
			return op.errDouble()
		case t.kind != old.kind && old.kind == tokenIndex:
			return errcode.New(errcode.UpdateField, op.name(), "can not update array by non-integer index")
		case t.kind != old.kind:
			return errcode.New(errcode.UpdateField, op.name(), "can not update map by non-string key")
		case t.index == old.index && bytes.Equal(t.key, old.key):
			prefix = append(prefix, t)
			continue
		}
		opened, err := b.open(u, op, prefix, rest)
		if err != nil {
			return err
		}
		return opened.apply(u, op, here)
	}
}

// open opens the value at the end of prefix, from which the way of what was done before goes on with rest. An error is
// that of op, for which it is opened.
func (b *branch) open(u *updater, op *operation, prefix []token, rest walker) (*branch, error) {
	p := place{end: len(b.data)}
	for _, t := range prefix {
		if !p.step(b.data, t) {
			return nil, op.errNoField()
		}
	}
	// A step by number may have gone into a map, which has numbers for keys. Such a one is not opened.
	if ahead := rest; (ahead.next().kind == tokenIndex) != (msgpack.TypeOf(b.data[p.start]) == msgpack.TypeArray) {
		return nil, errcode.New(errcode.UpdateField, op.name(), "can not update map by non-string key")
	}
	opened := newOpen(b.data[p.start:p.end])
	if b.kind == branchRoute {
		opened.adopt(b.child, rest)
	} else if err := opened.apply(u, &b.op, rest.path); err != nil {
		return nil, err
	}
	if len(prefix) == 0 {
		*b = *opened
		return b, nil
	}
	*b = branch{kind: branchRoute, data: b.data, route: prefix, start: p.start, end: p.end, child: opened}
	return opened, nil
}

// newOpen makes an open branch of an array or a map.
func newOpen(value []byte) *branch {
	if msgpack.TypeOf(value[0]) == msgpack.TypeArray {
		l := new(list)
		l.open(value)
		return &branch{kind: branchArray, list: l}
	}
	count, pairs, _ := msgpack.ReadMapLen(value)
	return &branch{kind: branchMap, count: count, items: []mapItem{{tail: pairs}}}
}

// adopt puts a branch that was opened before at the place in b that rest leads to.
func (b *branch) adopt(child *branch, rest walker) {
	t := rest.next()
	if b.kind == branchArray {
		r := b.list.isolate(int(t.index))
		value := b.list.bytes(r)
		*r = run{first: r.first, n: 1, state: changeInside, tree: child.behind(value, rest.route)}
		return
	}
	item := b.item(t.key)
	item.value = child.behind(item.value.data, rest.route)
}

// behind returns the branch of value, in which route leads to b.
func (b *branch) behind(value []byte, route []token) *branch {
	if len(route) == 0 {
		return b
	}
	p := place{end: len(value)}
	for _, t := range route {
		p.step(value, t)
	}
	return &branch{kind: branchRoute, data: value, route: route, start: p.start, end: p.end, child: b}
}

// close appends the finished value. Of an opened map the pairs that operations have named come first.
func (b *branch) close(dst []byte) []byte {
	switch b.kind {
	case branchBar:
		return append(dst, b.out...)
	case branchRoute:
		dst = append(dst, b.data[:b.start]...)
		return append(b.child.close(dst), b.data[b.end:]...)
	case branchArray:
		return b.list.close(dst, nil)
	case branchMap:
		dst = msgpack.AppendMapHeader(dst, b.count)
		for i := range b.items {
			if it := &b.items[i]; it.key != nil {
				dst = it.value.close(append(dst, it.key...))
			}
		}
		for i := range b.items {
			dst = append(dst, b.items[i].tail...)
		}
		return dst
	}
	return append(dst, b.data...)
}
