package catalog

import (
	"errors"
	"fmt"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// errBadRow is wrapped by every error about bytes that do not have the shape they should have.
var errBadRow = errors.New("malformed")

// reader takes values off the front of MessagePack bytes and remembers the first error; after one every value is zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s expected", errBadRow, what)
	}
}

func (r *reader) uint() uint64 {
	if r.err != nil {
		return 0
	}
	v, rest, err := msgpack.ReadUint(r.b)
	if err != nil {
		r.fail("unsigned integer")
		return 0
	}
	r.b = rest
	return v
}

func (r *reader) uint32() uint32 {
	v := r.uint()
	if v > 1<<32-1 {
		r.fail("number below 2^32")
		return 0
	}
	return uint32(v)
}

func (r *reader) int() int64 {
	if r.err != nil {
		return 0
	}
	v, rest, err := msgpack.ReadInt(r.b)
	if err != nil {
		r.fail("integer")
		return 0
	}
	r.b = rest
	return v
}

func (r *reader) float() float64 {
	if r.err != nil {
		return 0
	}
	v, rest, err := msgpack.ReadFloat(r.b)
	if err != nil {
		r.fail("double")
		return 0
	}
	r.b = rest
	return v
}

func (r *reader) bool() bool {
	if r.err != nil {
		return false
	}
	v, rest, err := msgpack.ReadBool(r.b)
	if err != nil {
		r.fail("boolean")
		return false
	}
	r.b = rest
	return v
}

func (r *reader) str() string {
	if r.err != nil {
		return ""
	}
	v, rest, err := msgpack.ReadStr(r.b)
	if err != nil {
		r.fail("string")
		return ""
	}
	r.b = rest
	return string(v)
}

func (r *reader) bin() []byte {
	if r.err != nil {
		return nil
	}
	v, rest, err := msgpack.ReadBin(r.b)
	if err != nil {
		r.fail("binary")
		return nil
	}
	r.b = rest
	return v
}

// isNil takes a nil if one comes next.
func (r *reader) isNil() bool {
	if r.err != nil || len(r.b) == 0 || r.b[0] != 0xc0 {
		return false
	}
	r.b = r.b[1:]
	return true
}

func (r *reader) optUint() *uint64 {
	if r.isNil() {
		return nil
	}
	v := r.uint()
	return &v
}

func (r *reader) optStr() string {
	if r.isNil() {
		return ""
	}
	return r.str()
}

// strs takes an array of strings.
func (r *reader) strs() []string {
	var out []string
	for n := r.array(); n > 0 && r.err == nil; n-- {
		out = append(out, r.str())
	}
	return out
}

func (r *reader) array() int {
	if r.err != nil {
		return 0
	}
	n, rest, err := msgpack.ReadArrayLen(r.b)
	if err != nil {
		r.fail("array")
		return 0
	}
	r.b = rest
	return n
}

// arrayOf takes the header of an array that must have exactly n members.
func (r *reader) arrayOf(n int) {
	if got := r.array(); got != n {
		r.fail(fmt.Sprintf("array of %d", n))
	}
}

func (r *reader) mapLen() int {
	if r.err != nil {
		return 0
	}
	n, rest, err := msgpack.ReadMapLen(r.b)
	if err != nil {
		r.fail("map")
		return 0
	}
	r.b = rest
	return n
}

// raw takes one value of any type as bytes.
func (r *reader) raw() []byte {
	if r.err != nil {
		return nil
	}
	rest, err := msgpack.Skip(r.b)
	if err != nil {
		r.fail("value")
		return nil
	}
	v := r.b[: len(r.b)-len(rest) : len(r.b)-len(rest)]
	r.b = rest
	return v
}

// end checks that nothing is left and returns the first error.
func (r *reader) end() error {
	if r.err == nil && len(r.b) != 0 {
		r.err = fmt.Errorf("%w: %d bytes too many", errBadRow, len(r.b))
	}
	return r.err
}

// strMap takes a map from strings to strings; a key given twice is an error.
func (r *reader) strMap() map[string]string {
	n := r.mapLen()
	m := make(map[string]string, min(n, 16))
	for range n {
		k, v := r.str(), r.str()
		if r.err != nil {
			return nil
		}
		if _, twice := m[k]; twice {
			r.fail("map without a key given twice")
			return nil
		}
		m[k] = v
	}
	return m
}

func appendOptUint(dst []byte, v *uint64) []byte {
	if v == nil {
		return msgpack.AppendNil(dst)
	}
	return msgpack.AppendUint(dst, *v)
}

func appendOptStr(dst []byte, v string) []byte {
	if v == "" {
		return msgpack.AppendNil(dst)
	}
	return msgpack.AppendStr(dst, v)
}

// Key encodes the parts of a key as concatenated MessagePack values. A part is a string, an int, or an unsigned integer.
func Key(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch v := p.(type) {
		case string:
			b = msgpack.AppendStr(b, v)
		case uint32:
			b = msgpack.AppendUint(b, uint64(v))
		case uint64:
			b = msgpack.AppendUint(b, v)
		case int:
			b = msgpack.AppendInt(b, int64(v))
		case int64:
			b = msgpack.AppendInt(b, v)
		default:
			panic(fmt.Sprintf("invariant broken: catalog key part of type %T", p))
		}
	}
	return b
}
