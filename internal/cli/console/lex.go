package console

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// incompleteError means that a command ends inside a bracket or a quote: more lines belong to it.
type incompleteError struct{ inside nesting }

// Error says so.
func (e *incompleteError) Error() string { return "the command ends inside a bracket or a quote" }

// operandKind says how an operand was written.
type operandKind uint8

const (
	bare      operandKind = iota // a word without quotes: a name, a keyword, a number
	quoted                       // a JSON string, quotes included
	bracketed                    // a JSON array or object, brackets included
)

// operand is one word of a command.
type operand struct {
	text string
	kind operandKind
}

// incomplete tells whether more lines are needed before the text is a command.
func incomplete(text string) bool {
	var e *incompleteError
	_, err := lex(text)
	return errors.As(err, &e)
}

// collector joins the lines of a command. It looks at each line of a long value once.
type collector struct {
	text   strings.Builder
	inside *nesting
}

// add takes the next line and tells whether the command is complete.
func (c *collector) add(line string) bool {
	if c.text.Len() > 0 {
		line = "\n" + line
	}
	c.text.WriteString(line)
	if c.inside != nil {
		if end, err := c.inside.feed(line); end == 0 && err == nil {
			return false
		}
	}
	var e *incompleteError
	if _, err := lex(c.text.String()); errors.As(err, &e) {
		c.inside = &e.inside
		return false
	}
	return true
}

// nesting is where in a string, or in a JSON array or object, a piece of text ends.
type nesting struct {
	open           []byte // closing brackets that are wanted
	inString, skip bool   // skip: a backslash was before
}

// feed goes on with a piece of text and returns the position after the end of the value, or 0 if it does not end there.
func (n *nesting) feed(text string) (end int, err error) {
	for i := range len(text) {
		switch c := text[i]; {
		case n.skip:
			n.skip = false
		case n.inString && c == '\\':
			n.skip = true
		case c == '"':
			n.inString = !n.inString
		case n.inString:
			continue
		case c == '[' || c == '{':
			if len(n.open) == depthMax {
				return 0, syntaxf("brackets nest deeper than %d", depthMax)
			}
			n.open = append(n.open, c+2) // in ASCII the closing bracket is two after the opening one
		case c == ']' || c == '}':
			if n.open[len(n.open)-1] != c {
				return 0, syntaxf("%c closes nothing in %s", c, clip(text[:i+1]))
			}
			n.open = n.open[:len(n.open)-1]
		default:
			continue
		}
		if !n.inString && len(n.open) == 0 {
			return i + 1, nil
		}
	}
	return 0, nil
}

// valueEnd finds the end of the string, array or object that text begins with.
func valueEnd(text string) (int, error) {
	var n nesting
	end, err := n.feed(text)
	if err == nil && end == 0 {
		err = &incompleteError{n}
	}
	return end, err
}

// lex splits the commands of a text at their spaces and returns the operands of the last one, which may be empty.
func lex(text string) (last []operand, err error) {
	for {
		if last, text, err = lexOne(text); err != nil || text == "" {
			return last, err
		}
	}
}

// commands splits a text into commands. What can not be read, and all behind it, is one.
func commands(text string) (found []string) {
	for {
		operands, rest, err := lexOne(text)
		if err != nil {
			return append(found, text)
		}
		if len(operands) > 0 {
			found = append(found, text[:len(text)-len(rest)])
		}
		if text = rest; text == "" {
			return found
		}
	}
}

// lexOne splits the first command of a text at its spaces and returns what comes after it. A JSON string, array or object
// is one operand whatever is in it. A comment (-- or # at the beginning of a word) ends the line, a semicolon the command.
func lexOne(text string) (found []operand, rest string, err error) {
	for {
		text = strings.TrimLeftFunc(text, unicode.IsSpace)
		if comment(text) {
			_, text, _ = strings.Cut(text, "\n")
			continue
		}
		if text == "" {
			return found, "", nil
		}
		if text[0] == ';' {
			if text = text[1:]; len(found) > 0 {
				return found, text, nil
			}
			continue
		}
		o, after, err := lexOperand(text)
		if err != nil {
			return nil, "", err
		}
		found, text = append(found, o), after
		if word := strings.ToLower(o.text); len(found) == 1 && (word == "sql" || word == "lua") {
			return found, "", nil // what follows has a grammar of its own
		}
	}
}

func comment(text string) bool { return strings.HasPrefix(text, "--") || strings.HasPrefix(text, "#") }

// lexOperand reads the operand that text begins with.
func lexOperand(text string) (o operand, rest string, err error) {
	end := 0
	switch text[0] {
	case '"':
		o.kind = quoted
		end, err = valueEnd(text)
	case '[', '{':
		o.kind = bracketed
		end, err = valueEnd(text)
	default:
		end = wordEnd(text)
	}
	if err != nil {
		return o, "", err
	}
	o.text, rest = text[:end], text[end:]
	if r, _ := utf8.DecodeRuneInString(rest); rest != "" && r != ';' && !unicode.IsSpace(r) {
		return o, "", syntaxf("a space is missing after %s", clip(o.text))
	}
	return o, rest, nil
}

// wordEnd finds the end of a word without quotes. A semicolon ends it only at the end of a line.
func wordEnd(text string) int {
	end := strings.IndexFunc(text, unicode.IsSpace)
	if end < 0 {
		end = len(text)
	}
	if trimmed := strings.TrimRight(text[:end], ";"); trimmed != "" {
		return len(trimmed)
	}
	return end
}

// clip shortens a piece of the input for an error text.
func clip(s string) string {
	const runesMax = 40
	n := 0
	for i := range s {
		if n++; n > runesMax {
			return s[:i] + "..."
		}
	}
	return s
}
