package box

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

var rewrite = flag.Bool("rewrite", false, "renew the expected output of the scripts")

// newTestEngine returns an engine with the dictionary loaded and version 1 published.
func newTestEngine(t testing.TB, o Options) *Engine {
	t.Helper()
	if o.QuotaBytes == 0 {
		o.QuotaBytes = 64 << 20
	}
	o.Poison = true
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	e.Begin(1)
	for _, row := range dictionary.Fresh("bbbbbbbb-0000-4000-8000-000000000002") {
		if err := e.Load(dictionary.SpaceSchema, row); err != nil {
			t.Fatal(err)
		}
	}
	dictionary.Rows(func(space uint32, row []byte) bool {
		if err := e.Load(space, row); err != nil {
			t.Fatal(err)
		}
		return true
	})
	if err := e.LoadBuiltin(); err != nil {
		t.Fatal(err)
	}
	e.Seal()
	e.Publish(1)
	return e
}

// fromJSON makes MessagePack of a JSON text: numbers without point or exponent are integers, {"bin":"…"} is binary.
func fromJSON(t testing.TB, text string) []byte {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return appendAny(nil, v)
}

func appendAny(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return msgpack.AppendNil(b)
	case bool:
		return msgpack.AppendBool(b, v)
	case string:
		return msgpack.AppendStr(b, v)
	case json.Number:
		if u, err := strconv.ParseUint(string(v), 10, 64); err == nil {
			return msgpack.AppendUint(b, u)
		}
		if i, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return msgpack.AppendInt(b, i)
		}
		f, err := v.Float64()
		if err != nil && !math.IsInf(f, 0) {
			panic(err)
		}
		return msgpack.AppendFloat64(b, f)
	case []any:
		b = msgpack.AppendArrayHeader(b, len(v))
		for _, x := range v {
			b = appendAny(b, x)
		}
		return b
	case map[string]any:
		if s, ok := v["bin"].(string); ok && len(v) == 1 {
			return msgpack.AppendBin(b, []byte(s))
		}
		b = msgpack.AppendMapHeader(b, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			b = appendAny(msgpack.AppendStr(b, k), v[k])
		}
		return b
	}
	panic(fmt.Sprintf("%T", v))
}

func toJSON(t testing.TB, b []byte) string {
	t.Helper()
	out, err := msgpack.ToJSON(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

var iterators = map[string]uint32{"eq": iterEQ, "req": iterREQ, "all": iterALL, "lt": iterLT, "le": iterLE, "ge": iterGE, "gt": iterGT, "bits": 7, "bad": 99}

// scripted is an engine driven by text commands, one version for each statement unless begin and end surround several.
type scripted struct {
	t       testing.TB
	e       *Engine
	r       *Reader
	version uint64
	open    bool
	// tx is open between "tx begin" and "tx commit" or "tx rollback"; what begins with "tx" runs in it.
	tx   *Tx
	inTx bool
	log  func(entry []byte) // of each version that a single statement made; may be nil
}

func (s *scripted) run(line string) string {
	words := splitWords(line)
	if words[0] == "tx" {
		return s.transaction(strings.TrimPrefix(line, "tx "))
	}
	id := func(i int) uint32 {
		n, err := strconv.Atoi(words[i])
		if err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
		return uint32(n)
	}
	arg := func(i int) []byte { return fromJSON(s.t, words[i]) }
	switch words[0] {
	case "insert", "replace":
		kind := map[string]Kind{"insert": Insert, "replace": Replace}[words[0]]
		return s.statement(&Statement{Kind: kind, SpaceID: id(1), Tuple: arg(2)})
	case "update": // update space index key ops
		return s.statement(&Statement{Kind: Update, SpaceID: id(1), IndexID: id(2), Key: arg(3), Ops: arg(4)})
	case "upsert":
		return s.statement(&Statement{Kind: Upsert, SpaceID: id(1), Tuple: arg(2), Ops: arg(3)})
	case "delete":
		return s.statement(&Statement{Kind: Delete, SpaceID: id(1), IndexID: id(2), Key: arg(3)})
	case "select": // select space index iterator key [limit [offset]]
		q := &Query{SpaceID: id(1), IndexID: id(2), Iterator: iterators[words[3]], Key: arg(4), Limit: 1000}
		if len(words) > 5 {
			q.Limit = id(5)
		}
		if len(words) > 6 {
			q.Offset = id(6)
		}
		return s.query(q)
	case "begin":
		s.version++
		s.e.Begin(s.version)
		s.open = true
	case "seal":
		s.e.Seal()
		s.open = false
	case "publish":
		s.e.Publish(s.version)
	case "rollback":
		s.version = s.e.Published()
		s.e.Rollback(s.version)
	default:
		s.t.Fatalf("unknown command %q", line)
	}
	return "ok\n"
}

// transaction begins and ends a transaction, or runs a command in it.
func (s *scripted) transaction(line string) string {
	switch line {
	case "begin":
		s.tx = s.e.BeginTx()
		return "ok\n"
	case "schema":
		s.tx = s.e.BeginSchemaTx()
		return "ok\n"
	case "rollback":
		s.tx.Close()
		return "ok\n"
	case "commit":
		defer s.tx.Close()
		s.version++
		s.e.Begin(s.version)
		err := s.e.CommitTx(s.tx)
		entry := s.e.Seal()
		if s.log != nil && entry != nil {
			s.log(entry)
		}
		s.e.Publish(s.version)
		if err != nil {
			return render(err)
		}
		return "ok\n"
	}
	s.inTx = true
	defer func() { s.inTx = false }()
	return s.run(line)
}

func (s *scripted) statement(st *Statement) string {
	if s.inTx {
		return s.outcome(s.tx.Execute(st))
	}
	if !s.open {
		s.version++
		s.e.Begin(s.version)
		defer func() {
			entry := s.e.Seal()
			if s.log != nil && entry != nil {
				s.log(entry)
			}
			s.e.Publish(s.version)
		}()
	}
	return s.outcome(s.e.Execute(st))
}

func (s *scripted) outcome(tup []byte, err error) string {
	if err != nil {
		return render(err)
	}
	if tup == nil {
		return "-\n"
	}
	return toJSON(s.t, tup) + "\n"
}

func (s *scripted) query(q *Query) string {
	read := s.r.Select
	if s.inTx {
		read = s.tx.Select
	}
	out, n, err := read(q, nil)
	if err != nil {
		return render(err)
	}
	var b strings.Builder
	for rest := out; len(rest) > 0; n-- {
		next, err := msgpack.Skip(rest)
		if err != nil {
			s.t.Fatal(err)
		}
		b.WriteString(toJSON(s.t, rest[:len(rest)-len(next)]) + "\n")
		rest = next
	}
	if n != 0 {
		s.t.Fatalf("%d rows more than counted", n)
	}
	if b.Len() == 0 {
		return "(nothing)\n"
	}
	return b.String()
}

func render(err error) string {
	e := errcode.Of(err)
	return fmt.Sprintf("error %d: %s\n", e.Code, e.Message)
}

// splitWords cuts at spaces outside of brackets and quotes.
func splitWords(line string) []string {
	var words []string
	depth, quoted, start := 0, false, 0
	for i := 0; i <= len(line); i++ {
		if i == len(line) || line[i] == ' ' && depth == 0 && !quoted {
			if i > start {
				words = append(words, line[start:i])
			}
			start = i + 1
			continue
		}
		switch c := line[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		}
	}
	return words
}

// TestScripts runs testdata/*.txt: commands, a line "----", what they print, an empty line between cases.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			e := newTestEngine(t, Options{})
			s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
			defer s.r.Close()
			var renewed bytes.Buffer
			for _, block := range strings.Split(strings.TrimSpace(string(data)), "\n\n") {
				commands, want, _ := strings.Cut(block+"\n", "----\n")
				var got strings.Builder
				for line := range strings.SplitSeq(strings.TrimSpace(commands), "\n") {
					if !strings.HasPrefix(line, "#") {
						got.WriteString(s.run(line))
					}
				}
				if got.String() != want && !*rewrite {
					t.Errorf("%sgot:\n%swant:\n%s", commands, got.String(), want)
				}
				fmt.Fprintf(&renewed, "%s----\n%s\n", commands, got.String())
			}
			if *rewrite {
				if err := os.WriteFile(file, bytes.TrimSuffix(renewed.Bytes(), []byte("\n")), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
