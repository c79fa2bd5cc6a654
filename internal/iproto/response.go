package iproto

import (
	"errors"
	"math"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Reply is one decoded reply as a client sees it. Byte slices are parts of the frame.
type Reply struct {
	// Code is TypeOK, TypeChunk, TypeEvent, or TypeError plus an error number.
	Code          uint32
	Sync          uint64
	SchemaVersion uint64
	// Data is the array of the reply's values with its header, nil if there was none.
	Data []byte
	// Position is where a page of SELECT ended, the contents of a string, nil if it was not asked for or nothing was found.
	Position []byte
	// EventKey and EventValue are what an event tells; the value is nil if the key has none.
	EventKey, EventValue []byte
	// Version, Features (an array with its header) and AuthType are set in replies to ID.
	Version  uint64
	Features []byte
	AuthType []byte
	// Err is set in error replies.
	Err *errcode.Error
	// Body is the whole body map, nil if the frame had none.
	Body []byte
}

var errReply = errors.New("iproto: malformed reply")

// DecodeReply reads the payload of a reply frame into r, which it clears first.
func DecodeReply(payload []byte, r *Reply) error {
	*r = Reply{}
	n, b, err := msgpack.ReadMapLen(payload)
	if err != nil {
		return errReply
	}
	for ; n > 0; n-- {
		key, rest, err := msgpack.ReadUint(b)
		if err != nil {
			return errReply
		}
		if b, err = r.header(key, rest); err != nil {
			return errReply
		}
	}
	if len(b) == 0 {
		return nil
	}
	if msgpack.Check(b) != nil {
		return errReply
	}
	return r.body(b)
}

// header reads the value of a header key.
func (r *Reply) header(key uint64, b []byte) (rest []byte, err error) {
	if key != uint64(KeyType) && key != uint64(KeySync) && key != uint64(KeySchemaVersion) {
		return msgpack.Skip(b)
	}
	v, b, err := msgpack.ReadUint(b)
	if err != nil {
		return nil, err
	}
	switch Key(key) {
	case KeyType:
		if v > math.MaxUint32 {
			return nil, errReply
		}
		r.Code = uint32(v)
	case KeySync:
		r.Sync = v
	case KeySchemaVersion:
		r.SchemaVersion = v
	}
	return b, nil
}

// body reads the body map, whose bytes are checked already.
func (r *Reply) body(b []byte) error {
	r.Body = b
	message, stack := []byte(nil), []byte(nil)
	n, b, err := msgpack.ReadMapLen(b)
	for ; n > 0 && err == nil; n-- {
		var key uint64
		if key, b, err = msgpack.ReadUint(b); err != nil {
			break
		}
		value := b
		b = msgpack.SkipTrusted(b)
		value = value[: len(value)-len(b) : len(value)-len(b)]
		switch key {
		case uint64(KeyData):
			r.Data = value
		case uint64(KeyPosition):
			r.Position, _, err = msgpack.ReadStr(value)
		case uint64(KeyEventKey):
			r.EventKey, _, err = msgpack.ReadStr(value)
		case uint64(KeyEventData):
			r.EventValue = value
		case uint64(KeyVersion):
			r.Version, _, err = msgpack.ReadUint(value)
		case uint64(KeyFeatures):
			r.Features = value
		case uint64(KeyAuthType):
			r.AuthType, _, err = msgpack.ReadStr(value)
		case uint64(KeyError24):
			message, _, err = msgpack.ReadStr(value)
		case uint64(KeyError):
			stack = value
		}
	}
	if err != nil {
		return errReply
	}
	if r.Code&TypeError != 0 {
		r.Err = readError(errcode.Code(r.Code&^TypeError), message, stack)
	}
	return nil
}

// readError makes the error value of an error reply. What of the stack cannot be read is left out: number and message
// are enough.
func readError(code errcode.Code, message, stack []byte) *errcode.Error {
	top := &errcode.Error{Code: code, Message: string(message)}
	n, b, err := msgpack.ReadMapLen(stack)
	if err != nil || n == 0 {
		return top
	}
	if key, rest, err := msgpack.ReadUint(b); err != nil || key != 0 {
		return top
	} else if n, b, err = msgpack.ReadArrayLen(rest); err != nil {
		return top
	}
	at := top
	for i := 0; i < n && i < errorDepthMax; i++ {
		e := at
		if i > 0 {
			e = &errcode.Error{}
		}
		if b, err = readErrorMap(b, e); err != nil {
			return top
		}
		if i > 0 {
			at.Cause, at = e, e
		}
	}
	return top
}

// readErrorMap reads one error of the stack into e.
func readErrorMap(b []byte, e *errcode.Error) (rest []byte, err error) {
	n, b, err := msgpack.ReadMapLen(b)
	if err != nil {
		return nil, err
	}
	for ; n > 0; n-- {
		key, value, err := msgpack.ReadUint(b)
		if err != nil {
			return nil, err
		}
		b = msgpack.SkipTrusted(value)
		switch key {
		case 0:
			if v, _, err := msgpack.ReadStr(value); err == nil && string(v) != "ClientError" {
				e.Type = string(v)
			}
		case 3:
			if v, _, err := msgpack.ReadStr(value); err == nil {
				e.Message = string(v)
			}
		case 5:
			if v, _, err := msgpack.ReadUint(value); err == nil && v < uint64(TypeError) {
				e.Code = errcode.Code(v)
			}
		case 6:
			e.Fields = readErrorFields(value)
		}
	}
	return b, nil
}

// readErrorFields reads those pairs of the payload whose name and value are strings.
func readErrorFields(b []byte) (fields []errcode.Field) {
	n, b, err := msgpack.ReadMapLen(b)
	for ; err == nil && n > 0; n-- {
		name, rest, errName := msgpack.ReadStr(b)
		if errName != nil {
			return fields
		}
		if value, _, err := msgpack.ReadStr(rest); err == nil {
			fields = append(fields, errcode.Field{Name: string(name), Value: string(value)})
		}
		b = msgpack.SkipTrusted(rest)
	}
	return fields
}
