package config

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"
)

// listMax bounds the elements of one list or map parameter.
const listMax = 1000

// assign stores text in a field of the table, by the field's type.
func assign(field any, text string) error {
	switch f := field.(type) {
	case *string:
		*f = text
		return nil
	case *Secret:
		*f = NewSecret([]byte(text))
		return nil
	case *bool:
		return assignBool(f, text)
	case *uint32:
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		*f = uint32(n)
		return nil
	case *time.Duration:
		d, err := ParseDuration(text)
		*f = d
		return err
	case *Size:
		n, err := ParseSize(text)
		*f = n
		return err
	case *[]string:
		return assignList(f, text)
	case *map[string]string:
		return assignPairs(f, text)
	}
	panic(fmt.Sprintf("config: no way to store a %T", field))
}

func assignBool(f *bool, text string) error {
	switch text {
	case "true", "1":
		*f = true
	case "false", "0":
		*f = false
	default:
		return fmt.Errorf("%q is neither true nor false", text)
	}
	return nil
}

func assignList(f *[]string, text string) error {
	*f = nil
	for _, v := range strings.Split(text, ",") {
		if v = strings.TrimSpace(v); v == "" {
			return fmt.Errorf("%q has an empty element", text)
		}
		*f = append(*f, v)
	}
	if len(*f) > listMax {
		return fmt.Errorf("more than %d elements", listMax)
	}
	return nil
}

func assignPairs(f *map[string]string, text string) error {
	pairs := make(map[string]string)
	for _, pair := range strings.Split(text, ",") {
		k, v, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || checkName(k) != nil || v == "" {
			return fmt.Errorf("%q is not of the form key=value,…", text)
		}
		if _, twice := pairs[k]; twice {
			return fmt.Errorf("key %q is given twice", k)
		}
		pairs[k] = v
	}
	if len(pairs) > listMax {
		return fmt.Errorf("more than %d elements", listMax)
	}
	*f = pairs
	return nil
}

// format writes a field so that assign reads it back.
func format(field any) string {
	switch f := field.(type) {
	case *string:
		return *f
	case *Secret:
		return string(f.Reveal())
	case *bool:
		return strconv.FormatBool(*f)
	case *uint32:
		return strconv.FormatUint(uint64(*f), 10)
	case *time.Duration:
		return formatDuration(*f)
	case *Size:
		return f.String()
	case *[]string:
		return strings.Join(*f, ",")
	case *map[string]string:
		return formatPairs(*f)
	}
	panic(fmt.Sprintf("config: no way to write a %T", field))
}

func formatPairs(pairs map[string]string) string {
	keys := make([]string, 0, len(pairs))
	for k := range pairs {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for i, k := range keys {
		keys[i] = k + "=" + pairs[k]
	}
	return strings.Join(keys, ",")
}
