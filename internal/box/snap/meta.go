package snap

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The text header of a file.
const (
	formatVersion    = "0.13"
	formatVersionOld = "0.12"

	keyVersion     = "Version"
	keyInstance    = "Instance"
	keyInstanceOld = "Server"
	keyVClock      = "VClock"
	keyPrevVClock  = "PrevVClock"

	// vclockComponentMax is the largest component id of a vector clock, as Tarantool limits it.
	vclockComponentMax = 31
)

// MetaBytesMax is the size limit, in bytes, of the text header of a file that the writer makes: what Tarantool sets aside
// for one (1 KiB and the longest vector clock). Tarantool 2.6 was seen to open longer ones, but not much longer ones.
const MetaBytesMax = 1858

// Meta is the text header of a file.
type Meta struct {
	Kind Kind
	// Version is the program version that wrote the file; readers do not act on it.
	Version string
	// Instance is the uuid of the instance that wrote the file, in its text form.
	Instance string
	// VClock is the position at which the file begins (log) or which it holds (snapshot): component to number, zero
	// components absent.
	VClock map[uint32]uint64
	// PrevVClock is the position at which the log before this one begins; nil in a snapshot and in the first log.
	PrevVClock map[uint32]uint64
	// Extra holds further keys. Tarantool ignores them.
	Extra map[string]string
}

// Signature is the number that names a file: the sum of the components of its vector clock.
func (m *Meta) Signature() uint64 {
	var sum uint64
	for _, n := range m.VClock {
		sum += n
	}
	return sum
}

// ClockText returns a vector clock as the header of a file shows it.
func ClockText(clock map[uint32]uint64) string { return string(appendVClock(nil, clock)) }

// appendTo appends the text of the header, or says what about it cannot be written.
func (m *Meta) appendTo(dst []byte) ([]byte, error) {
	if !m.Kind.writable() {
		return nil, fmt.Errorf("snap: header: unknown file kind %q", string(m.Kind))
	}
	if m.Version == "" || !isHeaderText(m.Version) {
		return nil, fmt.Errorf("snap: header: bad version %q", m.Version)
	}
	if !isUUID(m.Instance) {
		return nil, fmt.Errorf("snap: header: bad instance uuid %q", m.Instance)
	}
	start := len(dst)
	dst = fmt.Appendf(dst, "%s\n%s\n%s: %s\n%s: %s\n", m.Kind, formatVersion, keyVersion, m.Version, keyInstance, m.Instance)
	dst = append(dst, keyVClock+": "...)
	dst = append(appendVClock(dst, m.VClock), '\n')
	if m.PrevVClock != nil {
		dst = append(dst, keyPrevVClock+": "...)
		dst = append(appendVClock(dst, m.PrevVClock), '\n')
	}
	for _, key := range slices.Sorted(maps.Keys(m.Extra)) {
		value := m.Extra[key]
		if !isExtraKey(key) || !isHeaderText(value) {
			return nil, fmt.Errorf("snap: header: bad extra key %q or value %q", key, value)
		}
		dst = fmt.Appendf(dst, "%s: %s\n", key, value)
	}
	dst = append(dst, '\n')
	for _, clock := range []map[uint32]uint64{m.VClock, m.PrevVClock} {
		for id := range clock {
			if id > vclockComponentMax {
				return nil, fmt.Errorf("snap: header: vector clock component %d is above %d", id, vclockComponentMax)
			}
		}
	}
	if n := len(dst) - start; n > MetaBytesMax {
		return nil, fmt.Errorf("snap: header: %d bytes are more than %d", n, MetaBytesMax)
	}
	return dst, nil
}

func appendVClock(dst []byte, clock map[uint32]uint64) []byte {
	dst = append(dst, '{')
	first := true
	for _, id := range slices.Sorted(maps.Keys(clock)) {
		if clock[id] == 0 {
			continue
		}
		if !first {
			dst = append(dst, ", "...)
		}
		first = false
		dst = fmt.Appendf(dst, "%d: %d", id, clock[id])
	}
	return append(dst, '}')
}

// parseMeta parses the text of a header without its closing empty line. A failure names the line's offset in it.
func parseMeta(text []byte) (Meta, int, error) {
	var m Meta
	offset := 0
	for lineNumber := 0; len(text) > 0; lineNumber++ {
		line, rest, _ := bytes.Cut(text, []byte{'\n'})
		if err := m.parseLine(lineNumber, string(line)); err != nil {
			return Meta{}, offset, err
		}
		offset += len(line) + 1
		text = rest
	}
	switch {
	case m.Instance == "":
		return Meta{}, 0, fmt.Errorf("the header has no instance uuid")
	case m.VClock == nil && m.Kind.hasClock():
		return Meta{}, 0, fmt.Errorf("the header has no vector clock")
	}
	return m, 0, nil
}

func (m *Meta) parseLine(lineNumber int, line string) error {
	switch lineNumber {
	case 0:
		m.Kind = Kind(line)
		if !m.Kind.known() {
			return fmt.Errorf("unknown file kind %.20q", line)
		}
		return nil
	case 1:
		if line != formatVersion && line != formatVersionOld {
			return fmt.Errorf("unknown format version %.20q", line)
		}
		return nil
	}
	key, value, ok := strings.Cut(line, ": ")
	if !ok || key == "" {
		return fmt.Errorf("header line %.40q is not KEY: VALUE", line)
	}
	var err error
	switch key {
	case keyVersion:
		m.Version = value
	case keyInstance, keyInstanceOld:
		if !isUUID(value) {
			return fmt.Errorf("bad instance uuid %.40q", value)
		}
		m.Instance = value
	case keyVClock:
		m.VClock, err = parseVClock(value)
	case keyPrevVClock:
		m.PrevVClock, err = parseVClock(value)
	default:
		if m.Extra == nil {
			m.Extra = make(map[string]string)
		}
		m.Extra[key] = value
	}
	return err
}

// parseVClock reads "{0: 3, 1: 20}". The result is never nil without an error.
func parseVClock(text string) (map[uint32]uint64, error) {
	bad := fmt.Errorf("bad vector clock %.80q", text)
	body, ok := strings.CutPrefix(strings.TrimSpace(text), "{")
	if !ok {
		return nil, bad
	}
	if body, ok = strings.CutSuffix(body, "}"); !ok {
		return nil, bad
	}
	clock := make(map[uint32]uint64)
	if strings.TrimSpace(body) == "" {
		return clock, nil
	}
	for item := range strings.SplitSeq(body, ",") {
		idText, numberText, ok := strings.Cut(item, ":")
		if !ok {
			return nil, bad
		}
		id, err := strconv.ParseUint(strings.TrimSpace(idText), 10, 32)
		if err != nil || id > vclockComponentMax {
			return nil, bad
		}
		number, err := strconv.ParseUint(strings.TrimSpace(numberText), 10, 63)
		if err != nil {
			return nil, bad
		}
		if _, twice := clock[uint32(id)]; twice {
			return nil, bad
		}
		if number != 0 {
			clock[uint32(id)] = number
		}
	}
	return clock, nil
}

// isUUID reports whether the text has the shape 8-4-4-4-12 of hexadecimal digits.
func isUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i := range len(text) {
		c := text[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return false
		}
	}
	return true
}

func isHeaderText(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

func isExtraKey(key string) bool {
	switch key {
	case "", keyVersion, keyInstance, keyInstanceOld, keyVClock, keyPrevVClock:
		return false
	}
	return isHeaderText(key) && !strings.ContainsAny(key, ": ")
}
