package importer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Rows of _space and _index come from versions that know more than this one, or less. A row is offered to the cluster as
// it is first. If it is refused, it is offered again with less in it: variants are in the order in which they are tried.

// variant is a row of _space or _index in a form that may be accepted, with what was changed to make it so.
type variant struct {
	row     []byte
	changes []string
}

// What Tarantool 2.6 has in the flags of a space, in a field of its format, in the options and parts of an index. What
// later versions have besides is taken out when the row is refused.
var (
	spaceFlags   = []string{"temporary", "group_id", "view", "is_sync", "defer_deletes", "sql", "checks"}
	formatKeys   = []string{"name", "type", "is_nullable", "nullable_action", "collation", "default"}
	indexOptions = []string{"unique", "dimension", "distance", "sql", "range_size", "page_size", "run_count_per_level", "run_size_ratio",
		"bloom_fpr", "lsn", "func"}
	partKeys = []string{"field", "type", "collation", "is_nullable", "nullable_action", "exclude_null", "path"}
)

// plainTypes are the field types of 3.x for which an older type takes the same values, and more.
var plainTypes = map[string]string{
	"int8": "integer", "int16": "integer", "int32": "integer", "int64": "integer",
	"uint8": "unsigned", "uint16": "unsigned", "uint32": "unsigned", "uint64": "unsigned",
	"float32": "number", "float64": "double",
	"decimal32": "decimal", "decimal64": "decimal", "decimal128": "decimal", "decimal256": "decimal",
	"num": "unsigned", "uint": "unsigned", "int": "integer", "str": "string", "*": "any",
}

// notEnforced are keys of a field of a format that are kept and mean nothing to this version, nor to Tarantool 2.6
// outside of SQL.
var notEnforced = []string{"default", "default_func", "constraint", "foreign_key", "compression"}

// spaceVariants are the forms of a row of _space: as it is; with what 2.6 knows; as an ordinary space if it was local;
// without collations in the format; without a format.
func spaceVariants(row []byte) ([]variant, error) {
	variants := []variant{{row: row}}
	add := func(field int, value []byte, changes ...string) error {
		last := variants[len(variants)-1]
		if len(changes) == 0 {
			return nil
		}
		row, err := withFields(last.row, map[int][]byte{field: value})
		if err != nil {
			return err
		}
		variants = append(variants, variant{row: row, changes: append(slices.Clone(last.changes), changes...)})
		return nil
	}
	flags, changes, err := plainFlags(fieldAt(row, 5))
	if err == nil {
		err = add(5, flags, changes...)
	}
	format, changes, ferr := plainFields(fieldAt(row, 6), formatKeys, "field of the format")
	if err == nil && ferr == nil {
		err = add(6, format, changes...)
	}
	if err == nil && hasKey(flags, "group_id") {
		flags, _, _ = keepKeys(flags, func(key string) bool { return key != "group_id" })
		err = add(5, flags, "the space was local to its instance and is an ordinary one now")
	}
	if err == nil && ferr == nil && len(format) > 1 {
		plain, dropped, _ := eachMap(format, func(field []byte) ([]byte, []string, error) {
			return keepKeys(field, func(key string) bool { return key != "collation" })
		})
		if len(dropped) > 0 {
			err = add(6, plain, "collations of the format are left out")
		}
	}
	if err == nil && fieldAt(row, 6) != nil {
		err = add(6, []byte{0x90}, "the format is left out")
	}
	for i := range variants {
		variants[i].changes = append(unenforced(fieldAt(variants[i].row, 6)), variants[i].changes...)
	}
	return variants, err
}

// indexVariants are the forms of a row of _index: as it is; with what 2.6 knows.
func indexVariants(row []byte) ([]variant, error) {
	variants := []variant{{row: row}}
	options, dropped, err := keepKeys(fieldAt(row, 4), func(key string) bool { return slices.Contains(indexOptions, key) })
	if err != nil {
		return variants, err
	}
	known := partKeys
	if !ascending(fieldAt(row, 5)) {
		known = append(slices.Clone(known), "sort_order") // another order would be another index
	}
	parts, changes, err := plainFields(fieldAt(row, 5), known, "part")
	if err != nil || len(dropped)+len(changes) == 0 {
		return variants, nil // parts may be pairs, which older versions wrote: the cluster reads them
	}
	for _, key := range dropped {
		changes = append(changes, fmt.Sprintf("option %s is left out", key))
	}
	plain, err := withFields(row, map[int][]byte{4: options, 5: parts})
	return append(variants, variant{row: plain, changes: changes}), err
}

// ascending tells whether no part asks for descending order.
func ascending(parts []byte) bool {
	_, dropped, err := eachMap(parts, func(part []byte) ([]byte, []string, error) {
		return keepPairs(part, func(key string, value []byte) (bool, []byte) {
			return key != "sort_order" || strings.EqualFold(text(value), "asc"), value
		})
	})
	return err == nil && len(dropped) == 0
}

// plainFlags keeps the flags that 2.6 knows and turns the type of a space of 3.x into them.
func plainFlags(flags []byte) ([]byte, []string, error) {
	temporary := false
	kept, dropped, err := keepPairs(flags, func(key string, value []byte) (bool, []byte) {
		if key == "type" && strings.HasSuffix(text(value), "temporary") {
			temporary = true
		}
		return slices.Contains(spaceFlags, key), value
	})
	if err != nil {
		return nil, nil, err
	}
	var changes []string
	for _, key := range dropped {
		change := fmt.Sprintf("option %s is left out", key)
		if key == "type" {
			change = "option type is written as in 2.6"
		}
		changes = append(changes, change)
	}
	if temporary && !hasKey(kept, "temporary") {
		n, b, _ := msgpack.ReadMapLen(kept)
		kept = append(msgpack.AppendMapHeader(nil, n+1), b...)
		kept = msgpack.AppendBool(msgpack.AppendStr(kept, "temporary"), true)
	}
	return kept, changes, nil
}

// plainFields keeps the known keys of each map in an array, and writes types of 3.x as older ones.
func plainFields(list []byte, known []string, what string) (plain []byte, changes []string, err error) {
	if list == nil {
		return nil, nil, nil
	}
	types := map[string]bool{}
	plain, dropped, err := eachMap(list, func(field []byte) ([]byte, []string, error) {
		return keepPairs(field, func(key string, value []byte) (bool, []byte) {
			if older, ok := plainTypes[strings.ToLower(text(value))]; ok && key == "type" {
				types[fmt.Sprintf("type %s is %s now", text(value), older)] = true
				value = msgpack.AppendStr(nil, older)
			}
			if key == "default" && text(value) == "" {
				return false, nil // in 2.6 it is an expression of SQL
			}
			return slices.Contains(known, key), value
		})
	})
	for _, key := range slices.Compact(slices.Sorted(slices.Values(dropped))) {
		if key == "sort_order" {
			key = "sort_order asc" // which is what it means to leave it out
		}
		changes = append(changes, fmt.Sprintf("%s of a %s is left out", key, what))
	}
	return plain, append(changes, slices.Sorted(maps.Keys(types))...), err
}

// unenforced names what a format says and nobody checks.
func unenforced(format []byte) []string {
	var found []string
	_, dropped, err := eachMap(format, func(field []byte) ([]byte, []string, error) {
		return keepPairs(field, func(key string, value []byte) (bool, []byte) { return !slices.Contains(notEnforced, key), value })
	})
	if err != nil {
		return nil
	}
	for _, key := range slices.Compact(slices.Sorted(slices.Values(dropped))) {
		found = append(found, fmt.Sprintf("%s of a field of the format is not acted on", key))
	}
	return found
}

// eachMap changes every map of an array and gathers what was dropped from them.
func eachMap(list []byte, change func([]byte) ([]byte, []string, error)) (out []byte, dropped []string, err error) {
	if list == nil {
		return nil, nil, nil
	}
	n, b, err := msgpack.ReadArrayLen(list)
	if err != nil {
		return nil, nil, err
	}
	out = msgpack.AppendArrayHeader(nil, n)
	for range n {
		rest, err := msgpack.Skip(b)
		if err != nil {
			return nil, nil, err
		}
		changed, gone, err := change(b[:len(b)-len(rest)])
		if err != nil {
			return nil, nil, err
		}
		out, dropped, b = append(out, changed...), append(dropped, gone...), rest
	}
	return out, dropped, nil
}

// keepKeys keeps the pairs of a map whose keys are wanted and returns the other keys.
func keepKeys(m []byte, wanted func(string) bool) (kept []byte, dropped []string, err error) {
	return keepPairs(m, func(key string, value []byte) (bool, []byte) { return wanted(key), value })
}

// keepPairs is keepKeys with values that may be changed on the way.
func keepPairs(m []byte, change func(key string, value []byte) (bool, []byte)) (kept []byte, dropped []string, err error) {
	n, b, err := msgpack.ReadMapLen(m)
	if err != nil {
		return nil, nil, err
	}
	count, pairs := 0, []byte(nil)
	for range n {
		key, rest, err := msgpack.ReadStr(b)
		if err != nil {
			return nil, nil, err
		}
		after, err := msgpack.Skip(rest)
		if err != nil {
			return nil, nil, err
		}
		keep, value := change(string(key), rest[:len(rest)-len(after)])
		if keep {
			count++
			pairs = append(msgpack.AppendStrBytes(pairs, key), value...)
		} else {
			dropped = append(dropped, string(key))
		}
		b = after
	}
	return append(msgpack.AppendMapHeader(nil, count), pairs...), dropped, nil
}

func hasKey(m []byte, name string) bool {
	_, found, err := keepKeys(m, func(key string) bool { return key != name })
	return err == nil && len(found) > 0
}

// text is a value if it is a string.
func text(value []byte) string {
	s, _, err := msgpack.ReadStr(value)
	if err != nil {
		return ""
	}
	return string(s)
}
