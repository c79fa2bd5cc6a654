package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// code is one error of the table.
type code struct {
	number uint32
	// name is in capitals, constant is its name in Go.
	name, constant string
	// template is the message for fmt.Sprintf, empty if this program has no text for the number.
	template string
	// hint says what to do, empty if the program never sends the number.
	hint string
}

var headline = regexp.MustCompile(`^(\d+) ([A-Z][A-Z0-9_]*)(?: (".*"))?$`)

// parse reads the table: a line for each number, then its hint in indented lines; empty lines and those that begin with #
// are passed over. Numbers ascend and names differ.
func parse(text string) ([]code, error) {
	var all []code
	seen := map[string]bool{}
	for n, line := range strings.Split(text, "\n") {
		switch {
		case strings.TrimSpace(line) == "" || line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if len(all) == 0 {
				return nil, fmt.Errorf("line %d: a hint before the first number", n+1)
			}
			last := &all[len(all)-1]
			last.hint = strings.TrimSpace(last.hint + " " + strings.TrimSpace(line))
		default:
			c, err := parseHeadline(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n+1, err)
			}
			if len(all) > 0 && c.number <= all[len(all)-1].number {
				return nil, fmt.Errorf("line %d: number %d does not follow %d", n+1, c.number, all[len(all)-1].number)
			}
			if seen[c.name] || seen[c.constant] {
				return nil, fmt.Errorf("line %d: name %s is there twice", n+1, c.name)
			}
			seen[c.name], seen[c.constant] = true, true
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no numbers")
	}
	return all, nil
}

func parseHeadline(line string) (code, error) {
	m := headline.FindStringSubmatch(line)
	if m == nil {
		return code{}, fmt.Errorf("want a number, a NAME and perhaps a text in quotes: %s", line)
	}
	number, err := strconv.ParseUint(m[1], 10, 31)
	if err != nil {
		return code{}, err
	}
	c := code{number: uint32(number), name: m[2], constant: constantName(m[2])}
	if m[3] != "" {
		if c.template, err = strconv.Unquote(m[3]); err != nil {
			return code{}, fmt.Errorf("text of %s: %w", c.name, err)
		}
	}
	return c, nil
}

// asWritten are words whose capitals are not those of an ordinary word.
var asWritten = map[string]string{
	"CAS": "CAS", "CK": "CK", "DD": "DD", "FK": "FK", "GC": "GC", "ID": "ID", "IO": "IO", "MSGPACK": "MsgPack", "MVCC": "MVCC",
	"RO": "RO", "SQL": "SQL", "SSL": "SSL", "UUID": "UUID", "VCLOCK": "VClock", "WAL": "WAL",
}

// constantName turns NO_SUCH_SPACE into NoSuchSpace.
func constantName(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		if w, ok := asWritten[word]; ok {
			b.WriteString(w)
		} else if word != "" {
			b.WriteString(word[:1] + strings.ToLower(word[1:]))
		}
	}
	return b.String()
}
