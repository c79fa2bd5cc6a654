package catalog

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts give as what they should give")

// TestScripts runs testdata/*.txt: a command, its input lines, "----", the expected output, an empty line.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScript(t, file) })
	}
}

func runScript(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	var out strings.Builder
	for _, block := range strings.Split(strings.TrimRight(string(text), "\n"), "\n\n") {
		in, want, _ := strings.Cut(block+"\n", "----\n")
		got := in
		if strings.Contains(block, "----") {
			got = in + "----\n" + w.run(strings.Split(strings.TrimRight(in, "\n"), "\n"))
			if !*rewrite && got != in+"----\n"+want {
				t.Errorf("%s:\n%s--- want\n%s--- got\n%s", file, in, want, strings.TrimPrefix(got, in+"----\n"))
			}
		}
		out.WriteString(got + "\n")
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(strings.TrimSuffix(out.String(), "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// world is a leader's catalog that a script works on.
type world struct {
	replicasets int // made by joins
	s           *State
	h           *History
	index       uint64
	term        uint64
	objects     bool
}

func newWorld() *world { return &world{s: New(), h: NewHistory(0, 0), term: BootstrapTerm} }

func testParams() BootstrapParams {
	return BootstrapParams{
		ClusterName: "demo", ClusterUUID: "11111111-1111-4111-8111-111111111111",
		InstanceUUID: "22222222-2222-4222-8222-222222222222", ReplicasetUUID: "33333333-3333-4333-8333-333333333333",
		Tier: "default", Version: "0.1.0", Address: "127.0.0.1:3301", HTTPAddress: "127.0.0.1:8081",
		FailureDomain:      map[string]string{"DC": "1"},
		Tiers:              []TierParams{{Name: "default", ReplicationFactor: 1, CanVote: true, BucketCount: 3000, WALMode: "fsync", IsDefault: true}},
		AutoOfflineTimeout: 5 * time.Second, ElectionTimeout: time.Second, PublicFunctions: []uint32{1},
	}
}

func (w *world) run(lines []string) string {
	var out strings.Builder
	for _, line := range lines {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		out.WriteString(w.command(strings.Fields(line)))
	}
	return out.String()
}

func (w *world) command(args []string) string {
	switch args[0] {
	case "bootstrap":
		return w.bootstrap(args[1:])
	case "rows":
		return w.rows(args[1])
	case "term":
		w.term, _ = strconv.ParseUint(args[1], 10, 64)
		return fmt.Sprintf("term %d\n", w.term)
	case "noop":
		w.index++
		w.s.SetPosition(w.index, w.term)
		w.h.Note(w.index, w.term, nil)
		return fmt.Sprintf("index %d\n", w.index)
	case "objects":
		w.objects = args[1] == "yes"
		return ""
	case "user", "priv":
		return w.access(args[0], args[1], strings.Join(args[2:], " "))
	case "op":
		op, err := parseOp(args[1:])
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		return w.propose(nil, op)
	case "cas":
		return w.cas(args[1:])
	case "target":
		g, err := lifecycle.ParseGradeName(args[2])
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		op, p, err := SetTarget(w.s, args[1], g, "test", "2026-01-02T03:04:05Z")
		if err != nil {
			return show(err)
		}
		p.Term = w.term
		return w.propose(&p, op)
	case "join":
		return w.join(strings.Join(args[1:], " "))
	case "expel", "replace", "recover", "address", "domain", "version", "member", "up":
		return w.member(args)
	case "ddl", "commit", "abort", "takeback", "outcome", "operable":
		return w.schema(args)
	case "client":
		return w.client(args[1:])
	case "param":
		op, guard, err := SetParam(w.s, args[1], fromJSON(args[2]))
		if err != nil {
			return show(err)
		}
		guard.Term = w.term
		return w.propose(&guard, op)
	case "grade":
		return w.grade(args[1], args[2], args[3])
	}
	return "unknown command " + args[0] + "\n"
}

func (w *world) bootstrap(args []string) string {
	p := testParams()
	admin := false
	for _, arg := range args {
		name, factor, isTier := strings.Cut(arg, "=")
		if admin = admin || !isTier; !isTier {
			continue
		}
		n, _ := strconv.ParseUint(factor, 10, 64)
		if name == p.Tier {
			p.Tiers[0].ReplicationFactor = n
			continue
		}
		p.Tiers = append(p.Tiers, TierParams{Name: name, ReplicationFactor: n, CanVote: true, WALMode: "fsync"})
	}
	if admin {
		p.AdminAuth = Auth{AuthMethod, "JHDAwG3uQv0WGLuZAFrcouydHhk="}
	}
	entries, err := Bootstrap(p)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var out strings.Builder
	for _, e := range entries {
		w.index++
		res, changes, err := w.s.Apply(w.index, w.term, e)
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		w.h.Note(w.index, w.term, changes)
		fmt.Fprintf(&out, "%d: %d rows of", w.index, res.Rows)
		last := uint32(0)
		for _, c := range changes {
			if c.Table != last {
				fmt.Fprintf(&out, " %s", TableName(c.Table))
			}
			last = c.Table
		}
		out.WriteString("\n")
	}
	return out.String()
}

func (w *world) rows(name string) string {
	var out strings.Builder
	print := func(row []byte) bool {
		b, err := msgpack.ToJSON(nil, row)
		if err != nil {
			b = []byte(err.Error())
		}
		out.Write(append(b, '\n'))
		return true
	}
	switch name {
	case "_user":
		w.s.UserRows(print)
	case "_priv":
		w.s.PrivRows(func(p PrivRow) bool { return print(p.Append(nil)) })
	}
	w.s.Ascend(tableID(name), print)
	return out.String()
}

// propose runs an operation as a leader does, and checks that the encoded entry does the same to a copy.
func (w *world) propose(p *Predicate, ops ...Op) string {
	if p != nil {
		if err := CheckCAS(w.s, w.h, w.term, *p, ops); err != nil {
			return show(err)
		}
	} else if err := CheckTables(ops); err != nil {
		return show(err)
	}
	item := Item{Ops: ops, Initiator: AdminID}
	follower := w.s.Clone()
	res, changes, err := w.s.Execute(w.index+1, w.term, item)
	if err != nil {
		return show(err)
	}
	w.index++
	w.h.Note(w.index, w.term, changes)
	entry, err := EncodeEntry(Entry{Term: w.term, Items: []Item{item}})
	if err != nil {
		return show(err)
	}
	if _, _, err := follower.Apply(w.index, w.term, entry); err != nil {
		return show(err)
	}
	if !bytes.Equal(snapshotBytes(follower), snapshotBytes(w.s)) {
		return "error: the follower differs\n"
	}
	out := fmt.Sprintf("index %d: %d rows", res.Index, res.Rows)
	if res.UserID != 0 {
		out += fmt.Sprintf(", user %d", res.UserID)
	}
	return out + "\n"
}

func snapshotBytes(s *State) []byte {
	var b bytes.Buffer
	if err := EncodeSnapshot(&b, Snapshot{State: s, Voters: []uint64{1}}); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func show(err error) string {
	e := errcode.Of(err)
	return fmt.Sprintf("error %d: %s\n", e.Code, e.Message)
}

func (w *world) access(space, kind, row string) string {
	kinds := map[string]RowKind{"insert": RowInsert, "replace": RowReplace, "delete": RowDelete}
	var ops []Op
	var err error
	if space == "user" {
		ops, err = OpsForUserDML(w.s, kinds[kind], fromJSON(row), w.objects)
	} else {
		ops, err = OpsForPrivDML(w.s, kinds[kind], fromJSON(row))
	}
	if err != nil {
		return show(err)
	}
	var out strings.Builder
	for _, op := range ops {
		fmt.Fprintf(&out, "%s", op.Kind)
		for _, p := range op.Privileges {
			fmt.Fprintf(&out, " %s", p.Privilege)
		}
		out.WriteString("; ")
	}
	return out.String() + w.propose(nil, ops...)
}

// parseOp understands: insert|replace TABLE ROW, update TABLE KEY OPS, delete TABLE KEY, and users by JSON of Op.User.
func parseOp(args []string) (Op, error) {
	kinds := map[string]DMLKind{"insert": Insert, "replace": Replace, "update": Update, "delete": Delete}
	if kind, ok := kinds[args[0]]; ok {
		d := DML{Kind: kind, Table: tableID(args[1])}
		switch kind {
		case Insert, Replace:
			d.Tuple = fromJSON(args[2])
		case Update:
			d.Key, d.Ops = fromJSON(args[2])[1:], fromJSON(args[3])
		case Delete:
			d.Key = fromJSON(args[2])[1:]
		}
		return Op{Kind: Dml, DML: []DML{d}}, nil
	}
	for k := CreateUser; k <= DropRole; k++ {
		if k.String() != args[0] {
			continue
		}
		op := Op{Kind: k}
		return op, json.Unmarshal([]byte(args[1]), &op.User)
	}
	if args[0] == "Grant" {
		op := Op{Kind: Grant}
		return op, json.Unmarshal([]byte(args[1]), &op.Privileges)
	}
	if args[0] == "Nop" {
		return Op{}, nil
	}
	return Op{}, fmt.Errorf("unknown operation %s", args[0])
}

func tableID(name string) uint32 {
	for _, d := range Defs() {
		if d.Name == name {
			return d.ID
		}
	}
	id, _ := strconv.ParseUint(name, 10, 32)
	return uint32(id)
}

// cas understands: INDEX TERM [TABLE=MIN..MAX]... : OP; a bound is a JSON array, "(" before min or ")" after max exclude.
func (w *world) cas(args []string) string {
	var p Predicate
	p.Index, _ = strconv.ParseUint(args[0], 10, 64)
	p.Term, _ = strconv.ParseUint(args[1], 10, 64)
	at := 2
	for ; args[at] != ":"; at++ {
		table, bounds, _ := strings.Cut(args[at], "=")
		lo, hi, _ := strings.Cut(bounds, "..")
		r := Range{Table: tableID(table)}
		r.Min = Bound{Excluded: strings.HasPrefix(lo, "("), Key: boundKey(strings.TrimPrefix(lo, "("))}
		r.Max = Bound{Excluded: strings.HasSuffix(hi, ")"), Key: boundKey(strings.TrimSuffix(hi, ")"))}
		p.Ranges = append(p.Ranges, r)
	}
	op, err := parseOp(args[at+1:])
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	return w.propose(&p, op)
}

func boundKey(text string) []byte {
	if text == "" {
		return nil
	}
	return fromJSON(text)[1:]
}

func (w *world) grade(name, grade, incarnation string) string {
	row, ok := w.s.Instance(name)
	if !ok {
		return "no such instance\n"
	}
	g, err := lifecycle.ParseGradeName(grade)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	n, _ := strconv.ParseUint(incarnation, 10, 64)
	row.Current = lifecycle.Grade{Name: g, Incarnation: n}
	return w.propose(nil, Op{Kind: Dml, DML: []DML{{Kind: Replace, Table: TableInstance, Tuple: row.Row()}}})
}

// fromJSON turns JSON into MessagePack; arrays have at most 15 members, so that a key is an array without its first byte.
func fromJSON(text string) []byte {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		panic(fmt.Sprintf("%s: %v", text, err))
	}
	return appendJSON(nil, v)
}

func appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return msgpack.AppendNil(b)
	case bool:
		return msgpack.AppendBool(b, v)
	case string:
		return msgpack.AppendStr(b, v)
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return msgpack.AppendInt(b, i)
		}
		f, _ := v.Float64()
		return msgpack.AppendFloat64(b, f)
	case []any:
		b = msgpack.AppendArrayHeader(b, len(v))
		for _, m := range v {
			b = appendJSON(b, m)
		}
		return b
	case map[string]any:
		b = msgpack.AppendMapHeader(b, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			b = appendJSON(msgpack.AppendStr(b, k), v[k])
		}
		return b
	}
	panic("unknown")
}
