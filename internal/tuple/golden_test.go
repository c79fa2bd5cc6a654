package tuple

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected output in testdata")

// script is one case of a text script: commands, a line "----", the expected output, an empty line.
type script struct{ comment, input, want string }

func readScript(t *testing.T, path string) []script {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []script
	for _, block := range strings.Split(strings.TrimSpace(string(data)), "\n\n") {
		in, want, ok := strings.Cut(block, "\n----")
		if !ok {
			t.Fatalf("%s: no ---- in %q", path, block)
		}
		s := script{input: in, want: strings.Trim(want, "\n")}
		for strings.HasPrefix(s.input, "#") {
			line, rest, _ := strings.Cut(s.input, "\n")
			s.comment += line + "\n"
			s.input = rest
		}
		all = append(all, s)
	}
	return all
}

// runScript compares what run makes of each case, or rewrites the file.
func runScript(t *testing.T, path string, run func(t *testing.T, input string) string) {
	t.Helper()
	var out bytes.Buffer
	for _, s := range readScript(t, path) {
		got := run(t, s.input)
		if got != s.want && !*rewrite {
			t.Errorf("%s%s\ngot  %s\nwant %s", s.comment, s.input, got, s.want)
		}
		fmt.Fprintf(&out, "%s%s\n----\n%s\n\n", s.comment, s.input, got)
	}
	if *rewrite {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func render(b []byte, err error) string {
	if err == nil {
		return hex.EncodeToString(b)
	}
	var e *errcode.Error
	if !errors.As(err, &e) {
		return "not a client-visible error: " + err.Error()
	}
	return fmt.Sprintf("error %d %s", e.Code, strings.ReplaceAll(e.Message, "\n", `\n`))
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// namedFormat is the format of the space in which testdata/update.txt was captured.
func namedFormat(t testing.TB) (*Format, *KeyDef) {
	t.Helper()
	pk, err := NewKeyDef([]Part{{Type: Unsigned}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFormat([]Field{{Name: "id", Type: Unsigned}, {Name: "name", Type: String, Nullable: true},
		{Name: "n", Type: Integer, Nullable: true}, {Name: "d", Type: Double, Nullable: true},
		{Name: "a.b", Nullable: true}, {Name: "map", Nullable: true}}, 0, []*KeyDef{pk})
	if err != nil {
		t.Fatal(err)
	}
	return f, pk
}

// TestUpdateGolden replays UPDATE and UPSERT requests whose answers a real Tarantool 2.6.0 gave.
func TestUpdateGolden(t *testing.T) {
	named, pk := namedFormat(t)
	plain, err := NewFormat(nil, 0, []*KeyDef{pk})
	if err != nil {
		t.Fatal(err)
	}
	runScript(t, "testdata/update.txt", func(t *testing.T, input string) string {
		var base int
		var tup, ops []byte
		f, upsert := plain, false
		for sc := bufio.NewScanner(strings.NewReader(input)); sc.Scan(); {
			word, rest, _ := strings.Cut(sc.Text(), " ")
			switch word {
			case "update", "upsert":
				upsert = word == "upsert"
				fmt.Sscanf(rest, "base=%d", &base)
				if strings.HasSuffix(rest, " format") {
					f = named
				}
			case "tuple":
				tup = unhex(t, rest)
			case "ops":
				ops = unhex(t, rest)
			}
		}
		return render(statement(tup, ops, base, f, pk, upsert))
	})
}

// statement does what a box does around Update: check the result's format and that the primary key stayed.
func statement(tup, ops []byte, base int, f *Format, pk *KeyDef, upsert bool) ([]byte, error) {
	apply := Update
	if upsert {
		apply = UpsertOps
	}
	out, err := apply(nil, tup, ops, base, f)
	if err != nil {
		return nil, err
	}
	if err := f.Validate(out); err != nil {
		return nil, err
	}
	if pk.Compare(tup, out) != 0 {
		if upsert {
			return tup, nil
		}
		return nil, errcode.New(errcode.CantUpdatePrimaryKey, "pk", "named")
	}
	return out, nil
}
