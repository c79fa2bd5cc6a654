package tuple

import (
	"cmp"
	"encoding/binary"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Bounds of a datetime, as in Tarantool 2.10 and later: seconds since 1970, whole days of 32 bits around the year 1;
// nanoseconds; minutes from UTC.
const (
	datetimeSecondsMin = -185604722870400
	datetimeSecondsMax = 185480451417600
	nanosecondsMax     = 999999999
	zoneMinutesMin     = -12 * 60
	zoneMinutesMax     = 14 * 60
)

// datetime is the instant of a datetime value. Its time zone is kept in the bytes and counts in no comparison.
type datetime struct {
	seconds     int64
	nanoseconds int32
}

// parseDatetime reads the payload of a datetime extension: seconds, then, if any of them is not 0, nanoseconds, minutes
// from UTC and the number of the zone's name.
func parseDatetime(data []byte) (d datetime, ok bool) {
	if len(data) != 8 && len(data) != 16 {
		return d, false
	}
	d.seconds = int64(binary.LittleEndian.Uint64(data))
	if len(data) == 16 {
		d.nanoseconds = int32(binary.LittleEndian.Uint32(data[8:]))
		zone := int16(binary.LittleEndian.Uint16(data[12:]))
		if zone < zoneMinutesMin || zone > zoneMinutesMax {
			return d, false
		}
	}
	return d, d.seconds >= datetimeSecondsMin && d.seconds <= datetimeSecondsMax &&
		d.nanoseconds >= 0 && d.nanoseconds <= nanosecondsMax
}

func compareDatetimes(x, y []byte) int {
	_, a := msgpack.ExtTrusted(x)
	_, b := msgpack.ExtTrusted(y)
	p, _ := parseDatetime(a)
	q, _ := parseDatetime(b)
	if r := cmp.Compare(p.seconds, q.seconds); r != 0 {
		return r
	}
	return cmp.Compare(p.nanoseconds, q.nanoseconds)
}

// hint orders by seconds alone; never 0, which is nil's.
func (d datetime) hint() uint64 { return uint64(d.seconds-datetimeSecondsMin) + 1 }

func hashDatetime(h uint64, data []byte) uint64 {
	d, _ := parseDatetime(data)
	return mix(mix(h, uint64(d.seconds)), uint64(d.nanoseconds))
}

// intervalFieldsMax is the number of the last field of an interval: year, month, week, day, hour, minute, second,
// nanosecond, and how a month's end is met.
const intervalFieldsMax = 8

// validInterval checks the payload of an interval extension: a count, then pairs of a field's number and its value.
func validInterval(data []byte) bool {
	if len(data) == 0 || data[0] > intervalFieldsMax+1 {
		return false
	}
	b := data[1:]
	for range data[0] {
		if len(b) < 2 || b[0] > intervalFieldsMax {
			return false
		}
		rest, err := msgpack.Skip(b[1:])
		if t := msgpack.TypeOf(b[1]); err != nil || t != msgpack.TypeUint && t != msgpack.TypeInt {
			return false
		}
		b = rest
	}
	return len(b) == 0
}
