package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The generated files are those of the table; run `go generate ./internal/errcode` after changing it.
func TestFilesAreNotStale(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	want, err := outputs(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, text) {
			t.Errorf("%s is stale: run go generate ./internal/errcode", name)
		}
	}
}

func TestParse(t *testing.T) {
	codes, err := parse("# comment\n1 A_UUID \"x '%s' | y\"\n    Do this,\n    then that.\n\n7 NO_SUCH_MSGPACK\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []code{
		{number: 1, name: "A_UUID", constant: "AUUID", template: "x '%s' | y", hint: "Do this, then that."},
		{number: 7, name: "NO_SUCH_MSGPACK", constant: "NoSuchMsgPack"},
	}
	if len(codes) != len(want) || codes[0] != want[0] || codes[1] != want[1] {
		t.Errorf("parsed %+v, want %+v", codes, want)
	}
	if text := string(page(codes)); !strings.Contains(text, "| 1 | `A_UUID` | `x '%s' \\| y` | Do this, then that. |\n") ||
		!strings.Contains(text, "\n7 `NO_SUCH_MSGPACK`\n") {
		t.Errorf("the page is\n%s", text)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                     "# only a comment\n",
		"a hint without number":       "  hint\n1 A\n",
		"no name":                     "1\n",
		"a name in small letters":     "1 abc\n",
		"a text without quotes":       "1 A text\n",
		"a text that is not closed":   "1 A \"text\n",
		"a bad escape":                "1 A \"\\q\"\n",
		"numbers that do not ascend":  "2 A\n1 B\n",
		"a number twice":              "2 A\n2 B\n",
		"a name twice":                "1 A\n2 A\n",
		"a constant twice":            "1 AB_C\n2 AB__C\n",
		"a number that is too large":  "99999999999 A\n",
		"something after the quotes":  "1 A \"x\" y\n",
		"a headline with a tab in it": "1\tA\n",
	} {
		if codes, err := parse(text); err == nil {
			t.Errorf("%s: no error, got %+v", name, codes)
		}
	}
}

func TestGenerate(t *testing.T) {
	root := t.TempDir()
	if generate(root) == nil {
		t.Error("no error without a table")
	}
	for _, dir := range []string{"internal/errcode", "docs"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	table := filepath.Join(root, sourcePath)
	if err := os.WriteFile(table, []byte("1 A \"%s\"\n  Do it.\n2 B\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := generate(root); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(filepath.Join(root, "internal/errcode/table.go"))
	want := header + "// table holds the symbolic name, the message template and the hint of every number.\nvar table = map[Code]entry{\n" +
		"\tA: {name: \"A\", format: \"%s\",\n\t\thint: \"Do it.\"},\n\tB: {name: \"B\"},\n}\n"
	if err != nil || string(got) != want {
		t.Errorf("table.go is\n%s\nwant\n%s\n%v", got, want, err)
	}
}
