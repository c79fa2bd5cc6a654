package iproto

import (
	"encoding/binary"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

var errLength = errcode.New(errcode.InvalidMsgPack, "packet length")

// FrameSize reads the length at the start of b, in any unsigned encoding. head is the length's own size, body the size
// of what follows it. head 0 without an error means that more bytes are needed to tell. The error (number 20, "packet
// length") means that b is not the start of a frame; no later byte can be understood then.
func FrameSize(b []byte) (head, body int, err error) {
	if len(b) >= 5 && b[0] == 0xce {
		n := binary.BigEndian.Uint32(b[1:])
		if n >= FrameBytesMax {
			return 0, 0, errLength
		}
		return 5, int(n), nil
	}
	if len(b) == 0 {
		return 0, 0, nil
	}
	if msgpack.TypeOf(b[0]) != msgpack.TypeUint {
		return 0, 0, errLength
	}
	n, rest, err := msgpack.ReadUint(b)
	switch {
	case err != nil:
		return 0, 0, nil
	case n >= FrameBytesMax:
		return 0, 0, errLength
	}
	return len(b) - len(rest), int(n), nil
}

// CountReplies counts the frames in b that end a request: all but chunks. b holds whole frames made by this package;
// what does not look like one ends the count.
func CountReplies(b []byte) (n int) {
	for len(b) >= replyHeadBytes {
		size := 5 + int(binary.BigEndian.Uint32(b[1:]))
		if binary.BigEndian.Uint32(b[8:]) != TypeChunk {
			n++
		}
		if size > len(b) {
			break
		}
		b = b[size:]
	}
	return n
}
