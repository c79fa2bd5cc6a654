package console

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Types of MessagePack extensions, as Tarantool has them.
const (
	extDecimal  = 1
	extUUID     = 2
	extDatetime = 4
)

// decimalDigitsMax is how many digits a decimal has at most.
const decimalDigitsMax = 38

var errDecimal = errors.New(`digits with at most one point are wanted, up to 38 of them`)

// appendDecimal appends a decimal: the count of digits after the point, then two digits a byte, then the sign.
func appendDecimal(dst []byte, text string) ([]byte, error) {
	negative := strings.HasPrefix(text, "-")
	whole, fraction, _ := strings.Cut(strings.TrimLeft(text, "+-"), ".")
	digits := whole + fraction
	if digits == "" || len(text)-len(strings.TrimLeft(text, "+-")) > 1 || strings.Trim(digits, "0123456789") != "" {
		return nil, errDecimal
	}
	if digits = strings.TrimLeft(digits, "0"); len(digits) > decimalDigitsMax || len(fraction) > decimalDigitsMax {
		return nil, errDecimal
	}
	if len(digits)%2 == 0 {
		digits = "0" + digits
	}
	sign := byte(0xc)
	if negative {
		sign = 0xd
	}
	data := msgpack.AppendUint(nil, uint64(len(fraction)))
	for i := 0; i < len(digits); i += 2 {
		low := sign
		if i+1 < len(digits) {
			low = digits[i+1] - '0'
		}
		data = append(data, (digits[i]-'0')<<4|low)
	}
	return msgpack.AppendExt(dst, extDecimal, data), nil
}

// decimalText writes the payload of a decimal in digits. Payloads that are none, or that have more than a few dozens of
// zeros at an end, are left to the caller.
func decimalText(data []byte) (string, bool) {
	const zerosMax = 40
	scale, packed, err := msgpack.ReadInt(data)
	if err != nil || len(packed) == 0 || len(packed) > decimalDigitsMax || scale < -zerosMax || scale > zerosMax+decimalDigitsMax {
		return "", false
	}
	digits := make([]byte, 0, 2*len(packed))
	for i, c := range packed {
		digits = append(digits, '0'+c>>4, '0'+c&0xf)
		if c>>4 > 9 || i < len(packed)-1 && c&0xf > 9 {
			return "", false
		}
	}
	sign := digits[len(digits)-1] - '0'
	if sign < 0xa {
		return "", false
	}
	text := strings.TrimLeft(string(digits[:len(digits)-1]), "0")
	if scale < 0 && text != "" {
		text += strings.Repeat("0", int(-scale))
	}
	if scale = max(scale, 0); len(text) <= int(scale) {
		text = strings.Repeat("0", int(scale)+1-len(text)) + text
	}
	if scale > 0 {
		text = text[:len(text)-int(scale)] + "." + text[len(text)-int(scale):]
	}
	if sign == 0xd || sign == 0xb {
		text = "-" + text
	}
	return text, true
}

func appendUUID(dst []byte, text string) ([]byte, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 {
		return nil, errors.New("a UUID is wanted, in its form with four dashes")
	}
	return msgpack.AppendExt(dst, extUUID, id[:]), nil
}

func uuidText(data []byte) (string, bool) {
	id, err := uuid.FromBytes(data)
	return id.String(), err == nil
}

// appendDatetime appends a point in time: seconds, and where they are not zero, nanoseconds and offset from UTC.
func appendDatetime(dst []byte, text string) ([]byte, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return nil, errors.New("a time as in 2006-01-02T15:04:05.999999999Z is wanted")
	}
	_, offset := t.Zone()
	data := binary.LittleEndian.AppendUint64(nil, uint64(t.Unix()))
	if t.Nanosecond() != 0 || offset != 0 {
		data = binary.LittleEndian.AppendUint32(data, uint32(t.Nanosecond()))
		data = binary.LittleEndian.AppendUint16(data, uint16(int16(offset/60)))
		data = binary.LittleEndian.AppendUint16(data, 0)
	}
	return msgpack.AppendExt(dst, extDatetime, data), nil
}

// datetimeText writes the payload of a datetime; exact is false if the text leaves out the name of a time zone. Years
// with more than four digits are left to the caller.
func datetimeText(data []byte) (text string, exact, ok bool) {
	if len(data) != 8 && len(data) != 16 {
		return "", false, false
	}
	seconds, nanoseconds, offset, zone := int64(binary.LittleEndian.Uint64(data)), int64(0), 0, uint16(0)
	if len(data) == 16 {
		nanoseconds = int64(int32(binary.LittleEndian.Uint32(data[8:])))
		offset = int(int16(binary.LittleEndian.Uint16(data[12:])))
		zone = binary.LittleEndian.Uint16(data[14:])
	}
	const yearZero, yearTenThousand = -62_167_219_200, 253_402_300_800
	if seconds < yearZero+86_400 || seconds >= yearTenThousand-86_400 || nanoseconds < 0 || nanoseconds >= 1e9 || offset < -720 || offset > 840 {
		return "", false, false
	}
	t := time.Unix(seconds, nanoseconds).In(time.FixedZone("", offset*60))
	return t.Format(time.RFC3339Nano), zone == 0, true
}

// extText writes an extension for people: a decimal, UUID or datetime as its text, others as type and bytes.
func extText(dst []byte, kind int8, data []byte) []byte {
	var text string
	var ok bool
	switch kind {
	case extDecimal:
		text, ok = decimalText(data)
	case extUUID:
		text, ok = uuidText(data)
	case extDatetime:
		text, _, ok = datetimeText(data)
	}
	if ok {
		return append(dst, text...)
	}
	dst = strconv.AppendInt(append(dst, "ext "...), int64(kind), 10)
	return appendHex(append(dst, ' '), data)
}
