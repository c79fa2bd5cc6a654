package console

import (
	"slices"
	"strconv"
	"strings"
)

// candidate is a word that the line may go on with.
type candidate struct{ word, about string }

// complete lists the words that can stand where the text ends, in place of its last word if it does not end in a space.
func complete(text string, known names) (prefix string, found []candidate) {
	if at := strings.LastIndexAny(text, " \t\n"); at < len(text)-1 {
		prefix = text[at+1:]
	}
	before, err := lex(text[:len(text)-len(prefix)])
	if err != nil {
		return prefix, nil
	}
	for _, c := range candidates(before, known) {
		if strings.HasPrefix(c.word, prefix) {
			found = append(found, c)
		}
	}
	return prefix, found
}

// candidates lists what may follow the given operands.
func candidates(before []operand, known names) (found []candidate) {
	words := make([]string, len(before))
	for i, o := range before {
		words[i] = o.text
	}
	verb, rest := "", []string(nil)
	if len(words) > 0 {
		verb, rest = strings.ToLower(words[0]), words[1:]
	}
	if (verb == "create" || verb == "drop") && len(rest) > 0 {
		verb, rest = verb+" "+strings.ToLower(rest[0]), rest[1:]
	}
	spaces := func() []candidate { return plain("space", quoteAll(known.spaces)) }
	switch verb {
	case "":
		return verbs()
	case "create", "drop":
		return plain("", []string{"space", "index"})
	case "select", "count":
		return completeSelect(verb, rest, known, spaces)
	case "begin":
		switch {
		case len(rest) > 0 && rest[len(rest)-1] == "isolation":
			return plain("", isolations)
		case len(rest)%2 == 0:
			return plain("", []string{"timeout", "isolation"})
		}
	case "watch":
		if len(rest) == 0 {
			return plain("key", []string{"box.status", "box.id", "box.schema", "box.shutdown", "lycosa.state"})
		}
	case "get", "insert", "replace", "upsert", "indexes", "describe", "truncate", "drop space", "create index":
		if len(rest) == 0 {
			return spaces()
		}
		if verb == "create index" && len(rest) > 1 {
			return plain("", []string{"tree", "hash", "unique", "nonunique"})
		}
	case "update", "delete", "drop index":
		if len(rest) == 0 {
			return spaces()
		}
		if len(rest) == 1 {
			return plain("index", quoteAll(known.indexes[unquote(rest[0])]))
		}
	case "spaces":
		return plain("", []string{"all"})
	case `\timing`, `\x`:
		return plain("", []string{"on", "off"})
	case `\format`:
		return plain("", []string{"table", "json", "yaml"})
	case `\help`, "help":
		if len(rest) == 0 {
			return verbs()
		}
	}
	return nil
}

func completeSelect(verb string, rest []string, known names, spaces func() []candidate) []candidate {
	iterators := []string{"eq", "req", "all", "lt", "le", "ge", "gt"}
	more := []string{"limit", "offset"}
	if verb == "count" {
		more = nil
	}
	switch {
	case len(rest) == 0:
		return spaces()
	case slices.Contains(append(slices.Clone(iterators[:2]), append(iterators[3:], more...)...), rest[len(rest)-1]):
		return nil // a key or a number follows
	case len(rest) == 1:
		found := plain("index", quoteAll(known.indexes[unquote(rest[0])]))
		return append(found, plain("", append(iterators, more...))...)
	case len(rest) == 2 && slices.Contains(known.indexes[unquote(rest[0])], unquote(rest[1])):
		return plain("", append(iterators, more...))
	}
	return plain("", more)
}

func plain(about string, words []string) (found []candidate) {
	for _, w := range words {
		found = append(found, candidate{w, about})
	}
	return found
}

// verbs are the first words of the commands.
func verbs() (found []candidate) {
	for _, t := range topics() {
		word, rest, two := strings.Cut(t.verb, " ")
		if two {
			t.short = t.verb[:len(t.verb)-len(rest)] + "space or index"
		}
		if !slices.ContainsFunc(found, func(c candidate) bool { return c.word == word }) {
			found = append(found, candidate{word, t.short})
		}
	}
	return found
}

// quoteAll puts the names into quotes that would not be read as one bare name.
func quoteAll(all []string) []string {
	out := make([]string, len(all))
	for i, name := range all {
		out[i] = name
		o, err := lex(name)
		if err != nil || len(o) != 1 || o[0].kind != bare || o[0].text != name || strings.Trim(name, "0123456789") == "" {
			out[i] = string(appendString(nil, []byte(name)))
		}
	}
	return out
}

func unquote(word string) string {
	if strings.HasPrefix(word, `"`) {
		v := valueParser{text: word}
		if s, err := v.str(); err == nil {
			return s
		}
	}
	return word
}

// looksSecret tells whether a line is better not kept: it speaks of passwords, or begins with a space as in a shell.
func looksSecret(line string) bool {
	lower := strings.ToLower(line)
	for _, word := range []string{"passw", "secret", "chap-sha1", "token", "cookie", strconv.Quote("auth")} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	// The system spaces of users hold password hashes; there are names for them, and numbers.
	for _, o := range strings.Fields(lower) {
		switch strings.Trim(o, `"`) {
		case "_user", "304", "_pico_user", "420":
			return true
		}
	}
	return line != "" && (line[0] == ' ' || line[0] == '\t')
}
