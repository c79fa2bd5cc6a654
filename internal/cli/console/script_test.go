package console

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

var rewrite = flag.Bool("rewrite", false, "write what is found into the files of testdata")

// runScript runs a file of blocks: input, a line of four dashes, expected output, a line of four equal signs.
func runScript(t *testing.T, path string, run func(input string) string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	blocks := strings.SplitAfter(string(data), "\n====\n")
	for _, block := range blocks {
		input, want, found := strings.Cut(block, "\n----\n")
		if !found {
			out.WriteString(block)
			continue
		}
		want = strings.TrimSuffix(want, "====\n")
		got := run(input)
		if got != "" && !strings.HasSuffix(got, "\n") {
			got += "\n"
		}
		if got != want && !*rewrite {
			t.Errorf("%s: of\n%s\ncame\n%swant\n%s", path, input, got, want)
		}
		fmt.Fprintf(&out, "%s\n----\n%s====\n", input, got)
	}
	if len(blocks) < 2 {
		t.Fatalf("%s has no blocks", path)
	}
	if *rewrite {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestParse: each line of a block is a command, unless the block begins with a line "whole".
func TestParse(t *testing.T) {
	runScript(t, "testdata/parse.txt", func(input string) string {
		if text, whole := strings.CutPrefix(input, "whole\n"); whole {
			return parsed(text)
		}
		var out strings.Builder
		for line := range strings.SplitSeq(input, "\n") {
			out.WriteString(parsed(line) + "\n")
		}
		return out.String()
	})
}

// parsed shows the commands of a text.
func parsed(text string) string {
	var all []string
	for _, command := range commands(text) {
		all = append(all, parsedOne(command))
	}
	if all == nil {
		return "nothing"
	}
	return strings.Join(all, " ; ")
}

func parsedOne(text string) string {
	c, err := parse(text)
	var part *incompleteError
	switch {
	case errors.As(err, &part):
		return "incomplete"
	case err != nil:
		return "error: " + err.Error()
	case c.verb == "":
		return "nothing"
	}
	out := c.verb
	add := func(format string, args ...any) { out += " " + fmt.Sprintf(format, args...) }
	show := func(what string, n name) {
		if n.byID {
			add("%s=#%d", what, n.id)
		} else if n.text != "" {
			add("%s=%q", what, n.text)
		}
	}
	show("space", c.space)
	if c.index != (name{byID: true}) {
		show("index", c.index)
	}
	if c.newName != "" {
		add("name=%q", c.newName)
	}
	if c.verb == "select" || c.verb == "count" {
		add("iterator=%d", c.iterator)
	}
	for i, v := range [][]byte{c.key, c.tuple, c.ops, c.args} {
		if v != nil {
			text, _ := appendValue(nil, v, jsonText)
			add("%s=%s", []string{"key", "tuple", "ops", "args"}[i], text)
		}
	}
	if c.limit != 1<<32-1 || c.offset != 0 {
		add("limit=%d offset=%d", c.limit, c.offset)
	}
	for _, f := range c.format {
		add("field=%s:%s:%v", f.Name, f.Type, f.Nullable)
	}
	if c.kind != "" {
		add("%s nonunique=%v", c.kind, c.nonunique)
	}
	for _, p := range c.parts {
		add("part=%s#%d:%s:%v:%s", p.field.name, p.field.number, p.kind, p.nullable, p.collation)
	}
	if c.verb == "begin" {
		add("timeout=%v isolation=%d", c.timeout, c.isolation)
	}
	if c.word != "" {
		add("word=%q", c.word)
	}
	return out
}

// TestOutput: the first line of a block holds the format, "expanded" and "objects" if so, then the columns; each further
// line is a row.
func TestOutput(t *testing.T) {
	runScript(t, "testdata/output.txt", func(input string) string {
		head, lines, _ := strings.Cut(input, "\n")
		words := strings.Fields(head)
		var out bytes.Buffer
		p := printer{out: bufio.NewWriter(&out), format: Format(words[0])}
		objects := false
		words = words[1:]
		for len(words) > 0 && (words[0] == "expanded" || words[0] == "objects") {
			p.expanded, objects = p.expanded || words[0] == "expanded", objects || words[0] == "objects"
			words = words[1:]
		}
		var rows []byte
		n := 0
		for line := range strings.SplitSeq(lines, "\n") {
			if line == "" {
				continue
			}
			row, err := parseValue(line)
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, row...)
			n++
		}
		if err := p.rows(context.Background(), words, append(msgpack.AppendArrayHeader(nil, n), rows...), objects); err != nil {
			return "error: " + err.Error()
		}
		return out.String()
	})
}

// TestComplete: a block is one line, in which | stands at its end.
func TestComplete(t *testing.T) {
	known := names{spaces: []string{"users", "uploads", "my space", "12", "_space"},
		indexes: map[string][]string{"users": {"pk", "by name", "age"}, "my space": {"primary"}}}
	runScript(t, "testdata/complete.txt", func(input string) string {
		prefix, found := complete(strings.TrimSuffix(input, "|"), known)
		out := prefix + ":"
		for _, c := range found {
			out += " " + c.word
		}
		return out
	})
}

func TestHelp(t *testing.T) {
	all, err := helpText("")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"select", `\quit`, "$bin", "NaN", "begin"} {
		if !strings.Contains(all, want) {
			t.Errorf("\\help does not speak of %s", want)
		}
	}
	for _, tp := range topics() {
		text, err := helpText(tp.verb)
		if err != nil || !strings.Contains(text, tp.usage) {
			t.Errorf("\\help %s: %q, %v", tp.verb, text, err)
		}
		// Each command has an example, and each example is a command.
		if !strings.Contains("\n"+tp.more, "\n  "+tp.verb) && !strings.Contains("\n"+tp.more, "\n  "+strings.ToLower(tp.verb)) {
			t.Errorf("%s has no example", tp.verb)
		}
		for line := range strings.Lines(tp.more) {
			if example, is := strings.CutPrefix(line, "  "); is {
				if c, err := parse(example); err != nil || c.verb != tp.verb {
					t.Errorf("example of %s: %s: %v", tp.verb, example, err)
				}
			}
		}
	}
	if text, err := helpText("create"); err != nil || !strings.Contains(text, "create index SPACE") {
		t.Errorf("\\help create: %q, %v", text, err)
	}
	if _, err := helpText("slect"); err == nil || !strings.Contains(err.Error(), "select") {
		t.Errorf("\\help slect: %v", err)
	}
}
