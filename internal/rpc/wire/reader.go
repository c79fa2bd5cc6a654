package wire

import (
	"fmt"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// reader takes values off the front of a message and remembers the first thing that was wrong; from then on every value is
// zero.
type reader struct {
	b []byte
	// message is its name, for errors.
	message string
	wrong   string
}

func (r *reader) fail(want string) {
	if r.wrong == "" {
		r.wrong = want
	}
	r.b = nil
}

func (r *reader) ok() bool { return r.wrong == "" }

// err is the numbered error of a message that does not read.
func (r *reader) err() error {
	if r.ok() {
		return nil
	}
	return errcode.New(errcode.IllegalParams, "message "+r.message+": "+r.wrong+" expected")
}

// fields takes the header of an array of at least n elements and returns how many follow them, to be given to skip.
func (r *reader) fields(n int) (extra int) {
	got := r.count()
	if r.ok() && got < n {
		r.fail(fmt.Sprintf("array of %d", n))
	}
	if !r.ok() {
		return 0
	}
	return got - n
}

// skip passes over n values.
func (r *reader) skip(n int) {
	for ; n > 0 && r.ok(); n-- {
		rest, err := msgpack.Skip(r.b)
		if err != nil {
			r.fail("value")
			return
		}
		r.b = rest
	}
}

// end skips what a newer version has added, and checks that nothing follows.
func (r *reader) end(extra int) error {
	r.skip(extra)
	if r.ok() && len(r.b) != 0 {
		r.fail("end of the message")
	}
	return r.err()
}

// count takes the header of an array. The bytes that follow are at least as many as its elements.
func (r *reader) count() int {
	n, rest, err := msgpack.ReadArrayLen(r.b)
	if err != nil {
		r.fail("array")
		return 0
	}
	r.b = rest
	return n
}

// list takes the header of an array of at most limit elements.
func (r *reader) list(limit int) int {
	n := r.count()
	if n > limit {
		r.fail(fmt.Sprintf("array of at most %d", limit))
		return 0
	}
	return n
}

func (r *reader) uint() uint64 {
	v, rest, err := msgpack.ReadUint(r.b)
	if err != nil {
		r.fail("unsigned integer")
		return 0
	}
	r.b = rest
	return v
}

// uintMax takes a number that is at most limit.
func (r *reader) uintMax(limit uint64) uint64 {
	v := r.uint()
	if v > limit {
		r.fail(fmt.Sprintf("number of at most %d", limit))
		return 0
	}
	return v
}

func (r *reader) bool() bool {
	v, rest, err := msgpack.ReadBool(r.b)
	if err != nil {
		r.fail("boolean")
		return false
	}
	r.b = rest
	return v
}

// word takes a string of at most WordBytesMax bytes.
func (r *reader) word() string {
	v, rest, err := msgpack.ReadStr(r.b)
	if err != nil || len(v) > WordBytesMax {
		r.fail(fmt.Sprintf("string of at most %d bytes", WordBytesMax))
		return ""
	}
	r.b = rest
	return string(v)
}

// bin takes bytes, which stay a part of the message.
func (r *reader) bin(limit int) []byte {
	v, rest, err := msgpack.ReadBin(r.b)
	if err != nil || len(v) > limit {
		r.fail(fmt.Sprintf("binary of at most %d bytes", limit))
		return nil
	}
	r.b = rest
	return v
}

// isNil takes a nil if one comes next.
func (r *reader) isNil() bool {
	is, rest, err := msgpack.ReadNil(r.b)
	if err != nil {
		r.fail("value")
		return true
	}
	r.b = rest
	return is
}

// ids takes a list of raft ids; an empty one is nil.
func (r *reader) ids() []uint64 {
	n := r.list(MembersMax)
	if n == 0 {
		return nil
	}
	ids := make([]uint64, 0, n)
	for range n {
		ids = append(ids, r.uint())
	}
	if !r.ok() {
		return nil
	}
	return ids
}

// group takes the number of a raft group.
func (r *reader) group() uint8 {
	g := uint8(min(r.uint(), 255))
	if r.ok() && g != GroupCatalog && g != GroupData {
		r.fail("number of a group")
	}
	return g
}

func appendIDs(dst []byte, ids []uint64) []byte {
	dst = msgpack.AppendArrayHeader(dst, len(ids))
	for _, id := range ids {
		dst = msgpack.AppendUint(dst, id)
	}
	return dst
}
