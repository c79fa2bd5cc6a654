package console

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
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
	extInterval = 6
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

// intervalFields are the parts of an interval in the order of their numbers. adjust is how the end of a month is met: 1
// stays inside the month, 2 goes from end to end.
var intervalFields = []string{"year", "month", "week", "day", "hour", "minute", "second", "nanosecond", "adjust"}

var errInterval = errors.New(`an object of whole numbers is wanted, with year month week day hour minute second nanosecond adjust`)

// appendInterval appends an interval from a map of its parts: their count, then number and value of each that is not 0.
func appendInterval(dst, inner []byte) ([]byte, error) {
	n, b, err := msgpack.ReadMapLen(inner)
	if err != nil {
		return nil, errInterval
	}
	values := make([]int64, len(intervalFields))
	for range n {
		name, rest, err := msgpack.ReadStr(b)
		at := slices.Index(intervalFields, string(name))
		if err != nil || at < 0 {
			return nil, errInterval
		}
		if values[at], b, err = msgpack.ReadInt(rest); err != nil {
			return nil, errInterval
		}
	}
	data := []byte{0}
	for at, v := range values {
		if v != 0 {
			data[0]++
			data = msgpack.AppendInt(append(data, byte(at)), v)
		}
	}
	return msgpack.AppendExt(dst, extInterval, data), nil
}

// intervalMap turns the payload of an interval into a map of its parts. Payloads that appendInterval would not make again
// are left to the caller.
func intervalMap(data []byte) (parts []byte, ok bool) {
	if len(data) == 0 || int(data[0]) > len(intervalFields) {
		return nil, false
	}
	parts = msgpack.AppendMapHeader(nil, int(data[0]))
	for b := data[1:]; len(b) > 0; {
		if int(b[0]) >= len(intervalFields) {
			return nil, false
		}
		v, rest, err := msgpack.ReadInt(b[1:])
		if err != nil {
			return nil, false
		}
		parts = msgpack.AppendInt(msgpack.AppendStr(parts, intervalFields[b[0]]), v)
		b = rest
	}
	if rest, err := msgpack.Skip(parts); err != nil || len(rest) > 0 {
		return nil, false
	}
	again, err := appendInterval(nil, parts)
	return parts, err == nil && bytes.Equal(again, msgpack.AppendExt(nil, extInterval, data))
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
	case extInterval:
		if parts, exact := intervalMap(data); exact {
			dst, _ = appendValue(dst, parts, cellText)
			return dst
		}
	}
	if ok {
		return append(dst, text...)
	}
	dst = strconv.AppendInt(append(dst, "ext "...), int64(kind), 10)
	return appendHex(append(dst, ' '), data)
}
