package expr

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/tuple"
)

var rewrite = flag.Bool("rewrite", false, "renew the expected output of the scripts")

var testFields = []Field{
	{Name: "ID", Type: tuple.Unsigned}, {Name: "I", Type: tuple.Integer}, {Name: "U", Type: tuple.Unsigned},
	{Name: "D", Type: tuple.Double}, {Name: "s", Type: tuple.String}, {Name: "T", Type: tuple.String},
	{Name: "B", Type: tuple.Boolean}, {Name: "V", Type: tuple.Varbinary}, {Name: "SC", Type: tuple.Scalar},
	{Name: "CI", Type: tuple.String, Collation: tuple.CollationUnicodeCI}, {Name: "AN", Type: tuple.Any},
}

// testRow is [1, -2, 3, 1.5, "str", "abc", true, "a" as binary, 5, "äB"]: AN is missing.
func testRow() []byte {
	b := msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 10), 1)
	b = msgpack.AppendFloat64(msgpack.AppendUint(msgpack.AppendInt(b, -2), 3), 1.5)
	b = msgpack.AppendBool(msgpack.AppendStr(msgpack.AppendStr(b, "str"), "abc"), true)
	return msgpack.AppendStr(msgpack.AppendUint(msgpack.AppendBin(b, []byte("a")), 5), "äB")
}

// TestValues computes the expressions of testdata/values.txt. What is expected there was compared with tarantool 2.6 by
// test/differential, which reads the same file.
func TestValues(t *testing.T) {
	script(t, "testdata/values.txt", func(code string) string {
		e, err := Parse(code)
		if err != nil {
			return shownError(err)
		}
		p, err := e.Bind("t", testFields)
		if err != nil {
			return shownError(err)
		}
		v, err := p.Value(testRow())
		if err != nil {
			return shownError(err)
		}
		return fmt.Sprintf("%s %s", v.kindName(), v.string())
	})
}

// TestConditions does the same for testdata/conditions.txt, where the expressions are check constraints.
func TestConditions(t *testing.T) {
	script(t, "testdata/conditions.txt", func(code string) string {
		e, err := Parse(code)
		if err != nil {
			return "refused: " + shownError(err)
		}
		p, err := e.BindCondition("t", testFields)
		if err != nil {
			return "refused: " + shownError(err)
		}
		ok, err := p.Check(testRow())
		switch {
		case err != nil:
			return shownError(err)
		case ok:
			return "passes"
		}
		return "fails"
	})
}

// script reads lines "expression => result" and compares the results.
func script(t *testing.T, path string, run func(code string) string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		code, want, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " => ")
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" || !ok {
			out.WriteString(line)
			continue
		}
		got := run(strings.ReplaceAll(code, `\n`, "\n"))
		fmt.Fprintf(&out, "%s => %s\n", code, got)
		if got != want && !*rewrite {
			t.Errorf("%s\ngot  %s\nwant %s", code, got, want)
		}
	}
	if *rewrite {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func shownError(err error) string {
	var e *errcode.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	return fmt.Sprintf("error %d: %s", e.Code, e.Message)
}

// TestDepth tells where nesting ends: as deep as in tarantool 2.6 and no deeper.
func TestDepth(t *testing.T) {
	for _, c := range []struct {
		open, middle, close string
		most                int
		code                errcode.Code
	}{
		{"(", "I=2", ")", 91, errcode.SQLStackOverflow},
		{"1+(", "I=2", ")", 30, errcode.SQLStackOverflow},
		{"ABS(", "I", ")", 30, errcode.SQLStackOverflow},
		{"NOT ", "I=2", "", 91, errcode.SQLStackOverflow},
		{"", "I", "+1", 199, errcode.SQLParserLimit},
	} {
		text := func(n int) string { return strings.Repeat(c.open, n) + c.middle + strings.Repeat(c.close, n) }
		if _, err := Parse(text(c.most)); err != nil {
			t.Errorf("%d × %q: %v", c.most, c.open+c.close, err)
		}
		if _, err := Parse(text(c.most + 1)); !errcode.Is(err, c.code) {
			t.Errorf("%d × %q: %v", c.most+1, c.open+c.close, err)
		}
	}
}

// TestLongStrings refuses strings that would take the memory of the process.
func TestLongStrings(t *testing.T) {
	for _, code := range []string{"HEX(ZEROBLOB(16777216))", "ZEROBLOB(9223372036854775807)", "ZEROBLOB(1000000000)",
		"CAST(ZEROBLOB(16777216) AS TEXT) || 'x'", "LENGTH(REPLACE(CAST(ZEROBLOB(100000) AS TEXT), CHAR(0), CAST(ZEROBLOB(1000) AS TEXT)))"} {
		e, err := Parse(code)
		if err != nil {
			t.Fatal(err)
		}
		p, err := e.Bind("t", testFields)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Value(testRow()); !errcode.Is(err, errcode.TooBig) {
			t.Errorf("%s: %v", code, err)
		}
	}
}

// FuzzExpression computes expressions of any bytes over rows of any fields.
func FuzzExpression(f *testing.F) {
	for _, path := range []string{"testdata/values.txt", "testdata/conditions.txt"} {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			code, _, _ := strings.Cut(line, " => ")
			f.Add(code, testRow())
		}
	}
	f.Fuzz(func(t *testing.T, code string, row []byte) {
		if rest, err := msgpack.Skip(row); err != nil || len(rest) > 0 || msgpack.TypeOf(row[0]) != msgpack.TypeArray {
			row = testRow()
		}
		meter.Check(t, len(code), 1024, func() { _, _ = Parse(code) })
		for _, check := range []bool{false, true} {
			e, err := Parse(code)
			if err != nil {
				return
			}
			if check {
				if p, err := e.BindCondition("t", testFields); err == nil {
					_, _ = p.Check(row)
				}
				continue
			}
			if p, err := e.Bind("t", testFields); err == nil {
				if v, err := p.Value(row); err == nil {
					if rest, err := msgpack.Skip(v.AppendMsgPack(nil)); err != nil || len(rest) > 0 {
						t.Fatalf("%q: a value that does not read", code)
					}
				}
			}
		}
	})
}
