package differential

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// definitionsFile has rows of the dictionary with what becomes of them, for the engine's own test.
const definitionsFile = "../../internal/box/testdata/definitions.txt"

// constraintsFile has rows of _ck_constraint and _fk_constraint, and rows that they concern.
const constraintsFile = "../../internal/box/testdata/constraints.txt"

// TestDefinitions sends the same rows to the real server: it answers as the file says. Where it does not and we know why,
// the line before the row tells its answer: "# 2.6: …".
func TestDefinitions(t *testing.T) { replayScript(t, definitionsFile) }

// TestConstraints is TestDefinitions for constraints.
func TestConstraints(t *testing.T) { replayScript(t, constraintsFile) }

func replayScript(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddresses(t, 1)[0]
	startReference(t, address)
	ctx, cancel := context.WithTimeout(context.Background(), waitReply)
	defer cancel()
	c, err := connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := 0
	for _, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
		commands, expected, found := strings.Cut(block+"\n", "----\n")
		if !found {
			t.Fatalf("a case without a line of dashes:\n%s", block)
		}
		wants := strings.SplitAfter(expected, "\n")
		theirs := ""
		for line := range strings.SplitSeq(strings.TrimSpace(commands), "\n") {
			if text, ok := strings.CutPrefix(line, "# 2.6: "); ok {
				theirs = text + "\n"
			}
			if strings.HasPrefix(line, "#") {
				continue
			}
			want := wants[0]
			wants = wants[1:]
			if theirs != "" {
				want, theirs = theirs, ""
			}
			sent++
			if got := command(ctx, t, c, line); got != want {
				t.Errorf("%s\n  tarantool: %s  the file:  %s", line, got, want)
			}
		}
	}
	if sent < 100 {
		t.Errorf("%d rows sent: the file is not read as it should be", sent)
	}
}

// command sends a command of the engine's scripts to the reference and renders the answer as they do. Select is about at most
// one row.
func command(ctx context.Context, t *testing.T, c *client.Client, line string) string {
	t.Helper()
	words := splitWords(line)
	for n := len(words); n < 5; n++ {
		words = append(words, "0")
	}
	id := packJSON(words[1])
	var m bodyOf
	m.add(iproto.KeySpaceID, id)
	kind := iproto.TypeInsert
	switch words[0] {
	case "insert", "replace":
		if words[0] == "replace" {
			kind = iproto.TypeReplace
		}
		m.add(iproto.KeyTuple, packJSON(words[2]))
	case "update":
		kind = iproto.TypeUpdate
		m.add(iproto.KeyIndexID, packJSON(words[2]))
		m.add(iproto.KeyKey, packJSON(words[3]))
		m.add(iproto.KeyTuple, packJSON(words[4]))
	case "upsert":
		kind = iproto.TypeUpsert
		m.add(iproto.KeyTuple, packJSON(words[2]))
		m.add(iproto.KeyOps, packJSON(words[3]))
	case "delete":
		kind = iproto.TypeDelete
		m.add(iproto.KeyIndexID, packJSON(words[2]))
		m.add(iproto.KeyKey, packJSON(words[3]))
	default:
		t.Fatalf("%s: not a command that can be sent", line)
	}
	answers, err := sendAll(ctx, c, []request{{kind: kind, body: m.bytes()}})
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	a := answers[0]
	if a.err != nil {
		return fmt.Sprintf("error %d: %s\n", a.err.Code, a.err.Message)
	}
	rows := a.rows()
	if len(rows) == 0 {
		return "-\n"
	}
	text, err := msgpack.ToJSON(nil, rows[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
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
		case quoted && c == '\\':
			i++
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
