package bench

import (
	"encoding/binary"
	"fmt"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// replyBytesMax bounds a reply frame.
const replyBytesMax = 64 << 20

// outcome is what is read of a reply.
type outcome struct {
	// code is 0, or iproto.TypeError plus the number of the error; a chunk is no reply yet.
	code uint32
	sync uint64
	// rows is the number of values in the reply's data.
	rows uint32
	// size is the length of the whole frame. When the frame is not complete, it is the length as far as it is known, or 0,
	// and the rest is not set.
	size     int
	complete bool
}

// fixedHead is the length of the header that Tarantool sends: code, sync and schema version at their full width.
const fixedHead = 23

// readReply reads the frame at the start of b.
func readReply(b []byte) (o outcome, err error) {
	head, body, err := iproto.FrameSize(b)
	if err != nil || head == 0 {
		return o, err
	}
	if body > replyBytesMax {
		return o, fmt.Errorf("reply of %d bytes: the limit is %d", body, replyBytesMax)
	}
	o.size = head + body
	if len(b) < o.size {
		return o, nil
	}
	o.complete = true
	f := b[head:o.size]
	if len(f) < fixedHead || f[0] != 0x83 || f[1] != 0x00 || f[2] != 0xce || f[7] != 0x01 || f[8] != 0xcf || f[17] != 0x05 || f[18] != 0xce {
		err := o.readAny(f)
		return o, err
	}
	o.code = binary.BigEndian.Uint32(f[3:])
	o.sync = binary.BigEndian.Uint64(f[9:])
	o.rows = countRows(f[fixedHead:])
	return o, nil
}

// countRows reads the number of values of the body {DATA: [...]}, 0 of any other body.
func countRows(body []byte) uint32 {
	if len(body) < 3 || body[0] != 0x81 || body[1] != byte(iproto.KeyData) {
		return 0
	}
	switch b := body[2]; {
	case b == 0xdd && len(body) >= 7:
		return binary.BigEndian.Uint32(body[3:])
	case b == 0xdc && len(body) >= 5:
		return uint32(binary.BigEndian.Uint16(body[3:]))
	case b&0xf0 == 0x90:
		return uint32(b & 0x0f)
	}
	return 0
}

// readAny reads a header of any form.
func (o *outcome) readAny(payload []byte) error {
	var r iproto.Reply
	if err := iproto.DecodeReply(payload, &r); err != nil {
		return err
	}
	o.code, o.sync = r.Code, r.Sync
	if n, _, err := msgpack.ReadArrayLen(r.Data); err == nil {
		o.rows = uint32(n)
	}
	return nil
}

// errorText returns the message of an error reply.
func errorText(frame []byte) string {
	head, _, err := iproto.FrameSize(frame)
	if err != nil {
		return ""
	}
	var r iproto.Reply
	if err := iproto.DecodeReply(frame[head:], &r); err != nil || r.Err == nil {
		return ""
	}
	return r.Err.Message
}
