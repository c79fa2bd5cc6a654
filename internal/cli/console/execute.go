package console

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

// Numbers of the system spaces that the console reads and changes.
const (
	vcollationID     = 277
	schemaID         = 272
	spaceID          = 280
	vspaceID         = 281
	indexID          = 288
	vindexID         = 289
	vuserID          = 305
	privID           = 312
	vprivID          = 313
	truncateID       = 330
	spaceSequenceID  = 340
	vspaceSequenceID = 341
)

// errQuit ends the session.
var errQuit = errors.New("quit")

// run executes one command and shows its answer.
func (s *session) run(ctx context.Context, text string) error {
	c, err := parse(text)
	if err != nil {
		return err
	}
	if c.verb == "" {
		return nil
	}
	begin := time.Now()
	if err = s.execute(ctx, &c); s.timing && c.verb != `\timing` {
		s.notice("time: %.3f ms", float64(time.Since(begin).Microseconds())/1000)
	}
	return err
}

func (s *session) execute(ctx context.Context, c *command) error {
	switch c.verb {
	case "select", "get":
		return s.selects(ctx, c)
	case "insert", "replace", "update", "upsert", "delete":
		return s.change(ctx, c)
	case "call":
		return s.call(ctx, c)
	case "spaces":
		return s.spaces(ctx, c.word == "all")
	case "indexes", "describe":
		return s.describe(ctx, c)
	case "count":
		return s.count(ctx, c)
	case "create space", "create index", "drop space", "drop index", "truncate":
		return s.changeSchema(ctx, c)
	case "begin":
		return s.begin(ctx, c)
	case "commit":
		return s.commit(ctx)
	case "rollback":
		return s.rollback(ctx)
	case "watch":
		return s.watch(ctx, c)
	case "status":
		return s.status(ctx)
	case "sql", "lua":
		return laterError(c.verb)
	case "ping":
		if _, err := s.send(ctx, iproto.TypePing, iproto.AppendPing); err != nil {
			return err
		}
		return s.p.text("pong")
	}
	return s.setting(c)
}

// setting executes the commands about the console itself.
func (s *session) setting(c *command) error {
	toggle := func(name string, on *bool) error {
		*on = c.word == "on" || c.word == "" && !*on
		text := name + " is off"
		if *on {
			text = name + " is on"
		}
		return s.p.text(text)
	}
	switch c.verb {
	case `\timing`:
		return toggle("timing", &s.timing)
	case `\x`:
		return toggle("expanded display", &s.p.expanded)
	case `\format`:
		if c.word != "" {
			s.p.format = Format(c.word)
			return nil
		}
		return fmt.Errorf(`the format is %s; \format table|json|yaml chooses another`, s.p.format)
	case `\quit`:
		return errQuit
	}
	text, err := helpText(c.word)
	if err != nil {
		return err
	}
	_, _ = s.p.out.WriteString(text)
	return s.p.out.Flush()
}

func (s *session) selects(ctx context.Context, c *command) error {
	a := iproto.SelectArgs{Iterator: c.iterator, Offset: c.offset, Limit: c.limit, Key: c.key}
	if c.verb == "get" {
		a.Iterator, a.Limit = iproto.IterEQ, 2
	}
	reply, t, err := s.onTarget(ctx, c, iproto.TypeSelect, func(t target) client.Builder {
		a.Space, a.Index = t.space.id, t.index
		return func(dst []byte, sync uint64) []byte { return iproto.AppendSelect(dst, sync, a) }
	})
	if err != nil {
		return err
	}
	if n, _, err := msgpack.ReadArrayLen(reply.Data); c.verb == "get" && err == nil && n > 1 {
		return errcode.New(errcode.MoreThanOneTuple)
	}
	return s.p.rows(ctx, t.space.columns(), reply.Data, false)
}

func (s *session) change(ctx context.Context, c *command) error {
	op := map[string]iproto.Type{"insert": iproto.TypeInsert, "replace": iproto.TypeReplace, "update": iproto.TypeUpdate,
		"upsert": iproto.TypeUpsert, "delete": iproto.TypeDelete}[c.verb]
	reply, t, err := s.onTarget(ctx, c, op, func(t target) client.Builder {
		// Field numbers in operations count from 1, as in everything that people write here.
		a := iproto.ChangeArgs{Space: t.space.id, Index: t.index, IndexBase: 1, Key: c.key, Tuple: c.tuple, Ops: c.ops}
		return changeBuilder(op, a)
	})
	if err != nil {
		return err
	}
	if op == iproto.TypeUpsert {
		return s.p.text("done")
	}
	return s.p.rows(ctx, t.space.columns(), reply.Data, false)
}

// changeBuilder builds a request that changes one tuple.
func changeBuilder(op iproto.Type, a iproto.ChangeArgs) client.Builder {
	return func(dst []byte, sync uint64) []byte {
		switch op {
		case iproto.TypeUpdate:
			return iproto.AppendUpdate(dst, sync, a)
		case iproto.TypeUpsert:
			return iproto.AppendUpsert(dst, sync, a)
		case iproto.TypeDelete:
			return iproto.AppendDelete(dst, sync, a)
		}
		return iproto.AppendInsert(dst, op, sync, a.Space, a.Tuple)
	}
}

// changeSystem changes one tuple of a system space and returns the answer's rows.
func (s *session) changeSystem(ctx context.Context, op iproto.Type, a iproto.ChangeArgs) ([]byte, error) {
	reply, err := s.send(ctx, op, changeBuilder(op, a))
	if err != nil {
		return nil, err
	}
	return reply.Data, nil
}

func (s *session) call(ctx context.Context, c *command) error {
	reply, err := s.statement(ctx, iproto.TypeCall, 0, callBuilder(c.newName, c.args))
	if err != nil {
		return err
	}
	return s.results(ctx, reply)
}

func callBuilder(function string, args []byte) client.Builder {
	return func(dst []byte, sync uint64) []byte { return iproto.AppendCall(dst, sync, function, args) }
}

// results shows what a function returned.
func (s *session) results(ctx context.Context, reply *iproto.Reply) error {
	n, b, err := msgpack.ReadArrayLen(reply.Data)
	if err != nil {
		return err
	}
	if n == 1 && msgpack.TypeOf(b[0]) == msgpack.TypeMap {
		return s.p.document(ctx, b)
	}
	columns := []string{"result"}
	for range n {
		if msgpack.TypeOf(b[0]) == msgpack.TypeArray {
			columns = nil // tuples: their fields have numbers
		}
		b = msgpack.SkipTrusted(b)
	}
	return s.p.rows(ctx, columns, reply.Data, false)
}

// status asks beside an open transaction.
func (s *session) status(ctx context.Context) error {
	reply, err := s.send(ctx, iproto.TypeCall, callBuilder(".proc_instance_info", nil))
	if err != nil {
		return err
	}
	return s.results(ctx, reply)
}

// count reads the matching tuples a page at a time and counts them. Outside of a transaction each page is what there is
// when it is read.
func (s *session) count(ctx context.Context, c *command) error {
	const pageRows = 10_000
	a := iproto.SelectArgs{Iterator: c.iterator, Limit: pageRows, Key: c.key, FetchPosition: true}
	for total := uint64(0); ; {
		reply, _, err := s.onTarget(ctx, c, iproto.TypeSelect, func(t target) client.Builder {
			a.Space, a.Index = t.space.id, t.index
			return func(dst []byte, sync uint64) []byte { return iproto.AppendSelect(dst, sync, a) }
		})
		if err != nil {
			return err
		}
		n := rowCount(reply.Data)
		if total += uint64(n); n < pageRows || len(reply.Position) == 0 {
			row := msgpack.AppendUint(msgpack.AppendArrayHeader(msgpack.AppendArrayHeader(nil, 1), 1), total)
			return s.p.rows(ctx, []string{"count"}, row, true)
		}
		a.After = reply.Position
	}
}

// watch shows the value of a key, and each newer one, until enough were shown or the user has seen enough.
func (s *session) watch(ctx context.Context, c *command) error {
	conn, err := s.connection(ctx)
	if err != nil {
		return err
	}
	w, err := conn.Watch(c.newName)
	if err != nil {
		return err
	}
	defer w.Close()
	for shown := uint32(0); shown < c.limit; shown++ {
		value, err := w.Next(ctx)
		switch {
		case errors.Is(err, context.Canceled):
			return nil
		case err != nil:
			return fmt.Errorf("watch: the connection to %s is lost: %w; the next command connects again", s.o.Address, conn.Err())
		case value == nil:
			value = msgpack.AppendNil(nil)
		}
		row := append(msgpack.AppendStr(msgpack.AppendArrayHeader(msgpack.AppendArrayHeader(nil, 1), 2), c.newName), value...)
		if err := s.p.rows(ctx, []string{"key", "value"}, row, true); err != nil {
			return err
		}
	}
	return nil
}

// laterError answers the languages that have a place here and are not there yet.
func laterError(verb string) error {
	language := map[string]string{"sql": "SQL", "lua": "Lua"}[verb]
	return fmt.Errorf(`%s is not in this version, it comes later; \help lists the commands that there are`, language)
}

func (s *session) spaces(ctx context.Context, system bool) error {
	known, err := s.schema(ctx, true)
	if err != nil {
		return err
	}
	var rows []byte
	n := 0
	for _, sp := range known.spaces {
		if sp.id < userSpaceMin && !system {
			continue
		}
		n++
		rows = msgpack.AppendUint(msgpack.AppendArrayHeader(rows, 5), uint64(sp.id))
		rows = msgpack.AppendStr(msgpack.AppendStr(rows, sp.name), sp.engine)
		rows = msgpack.AppendUint(msgpack.AppendUint(rows, uint64(len(sp.fields))), uint64(len(sp.indexes)))
	}
	rows = append(msgpack.AppendArrayHeader(nil, n), rows...)
	return s.p.rows(ctx, []string{"id", "name", "engine", "fields", "indexes"}, rows, true)
}

// describe shows the format and the indexes of a space, or the indexes alone.
func (s *session) describe(ctx context.Context, c *command) error {
	t, err := s.resolve(ctx, c, true)
	if err != nil {
		return err
	}
	if s.known == nil || s.known.byID(t.space.id) == nil {
		return errcode.New(errcode.NoSuchSpace, t.space.name)
	}
	indexes := indexRows(t.space)
	fieldColumns := []string{"number", "name", "type", "nullable"}
	indexColumns := []string{"id", "name", "type", "unique", "parts"}
	if c.verb == "indexes" {
		return s.p.rows(ctx, indexColumns, indexes, true)
	}
	fields := fieldRows(t.space)
	if s.p.format != FormatTable {
		doc := msgpack.AppendMapHeader(nil, 5)
		doc = msgpack.AppendUint(msgpack.AppendStr(doc, "id"), uint64(t.space.id))
		doc = msgpack.AppendStr(msgpack.AppendStr(doc, "name"), t.space.name)
		doc = msgpack.AppendStr(msgpack.AppendStr(doc, "engine"), t.space.engine)
		doc = appendObjects(msgpack.AppendStr(doc, "fields"), fieldColumns, fields)
		doc = appendObjects(msgpack.AppendStr(doc, "indexes"), indexColumns, indexes)
		return s.p.document(ctx, doc)
	}
	head := fmt.Sprintf("space %s, number %d, engine %s", appendPlain(nil, []byte(t.space.name)), t.space.id, t.space.engine)
	if err := s.p.text(head + "\nfields:"); err != nil {
		return err
	}
	if err := s.p.rows(ctx, fieldColumns, fields, true); err != nil {
		return err
	}
	if err := s.p.text("indexes:"); err != nil {
		return err
	}
	return s.p.rows(ctx, indexColumns, indexes, true)
}

// appendObjects appends rows as maps with the names of their columns.
func appendObjects(dst []byte, columns []string, rows []byte) []byte {
	dst = msgpack.AppendArrayHeader(dst, rowCount(rows))
	eachRow(rows, func(row []byte) {
		dst = msgpack.AppendMapHeader(dst, len(columns))
		for i, name := range columns {
			dst = append(msgpack.AppendStr(dst, name), tuple.FieldAt(row, i)...)
		}
	})
	return dst
}

func fieldRows(sp *space) []byte {
	rows := msgpack.AppendArrayHeader(nil, len(sp.fields))
	for i, f := range sp.fields {
		rows = msgpack.AppendUint(msgpack.AppendArrayHeader(rows, 4), uint64(i+1))
		rows = msgpack.AppendStr(msgpack.AppendStr(rows, f.Name), f.Type.String())
		rows = msgpack.AppendBool(rows, f.Nullable)
	}
	return rows
}

func indexRows(sp *space) []byte {
	rows := msgpack.AppendArrayHeader(nil, len(sp.indexes))
	for _, ix := range sp.indexes {
		rows = msgpack.AppendUint(msgpack.AppendArrayHeader(rows, 5), uint64(ix.id))
		rows = msgpack.AppendStr(msgpack.AppendStr(rows, ix.name), ix.kind)
		rows = msgpack.AppendStr(msgpack.AppendBool(rows, ix.unique), partsText(sp, ix.parts))
	}
	return rows
}

// partsText writes the parts of an index as people say them.
func partsText(sp *space, parts []tuple.Part) string {
	text := ""
	for i, p := range parts {
		if i > 0 {
			text += ", "
		}
		text += sp.fieldName(p.Field)
		if p.Path != "" {
			text += p.Path
		}
		text += " " + p.Type.String()
		if p.Nullable {
			text += " nullable"
		}
		if p.Collation != 0 && p.Collation != math.MaxUint32 {
			text += fmt.Sprintf(" collation %d", p.Collation)
		}
	}
	return text
}
