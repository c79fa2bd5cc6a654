package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/sys"
)

// formatVersion is the version of the file's format; it stands in the first record of every file.
const formatVersion = "1"

// Names of the records that the log writes of itself.
const (
	eventBegin  = "audit_begin"        // first record of a file
	eventTorn   = "audit_torn_line"    // a half-written line was cut off
	eventBroken = "audit_chain_broken" // the end of the file was not written by us
	eventLost   = "audit_lost"         // records before this one could not be written
)

// Limits of a record.
const (
	lineBytesMax  = 8 << 10
	textBytesMax  = 1 << 10
	detailsMax    = 32
	tailBytesRead = 8 * lineBytesMax
)

// hashMark begins the last field of a line; all bytes before it are hashed.
const hashMark = `,"hash":"`

var zeroHash = strings.Repeat("0", 2*sha256.Size)

// record is a line without its hash, in the order in which it is written.
type record struct {
	Seq    uint64  `json:"seq"`
	Time   string  `json:"time"`
	Event  string  `json:"event"`
	Who    *string `json:"who"`
	Where  *string `json:"where"`
	What   *string `json:"what"`
	Result *string `json:"result"`
	Detail details `json:"detail"`
	Prev   string  `json:"prev"`
}

// details is a JSON object whose keys keep their order.
type details []event.Field

// MarshalJSON writes the object.
func (d details) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range d {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(f.Key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(f.Value)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func formatDetail() []event.Field {
	return []event.Field{{Key: "format_version", Value: formatVersion}}
}

// encode makes the line that follows pos, newline included, and the position after it.
func encode(pos position, now time.Time, e Entry) ([]byte, position) {
	r := record{
		Seq: pos.seq + 1, Time: now.UTC().Format(timeFormat), Event: cut(e.Event, textBytesMax),
		Who: text(e.Who), Where: text(e.Where), What: text(e.What), Result: text(e.Result), Prev: pos.hash,
	}
	for i, f := range e.Detail {
		if i == detailsMax {
			break
		}
		r.Detail = append(r.Detail, event.Field{Key: cut(f.Key, textBytesMax), Value: cut(f.Value, textBytesMax)})
	}
	body := marshal(r)
	if len(body) > lineBytesMax-hashRoom {
		r.Detail = details{{Key: "detail_left_out", Value: "too long"}}
		body = marshal(r)
	}
	if len(body) > lineBytesMax-hashRoom {
		for _, p := range []**string{&r.Who, &r.Where, &r.What, &r.Result} {
			*p = shorten(*p)
		}
		r.Event = cut(r.Event, 64)
		body = marshal(r)
	}
	body = body[:len(body)-1] // the closing brace comes after the hash
	sum := hashOf(body)
	line := make([]byte, 0, len(body)+hashRoom)
	line = append(append(append(line, body...), hashMark...), sum...)
	return append(line, "\"}\n"...), position{seq: r.Seq, hash: sum}
}

// hashRoom is how many bytes the hash field and the newline add to a line.
const hashRoom = len(hashMark) + 2*sha256.Size + len("\"}\n")

// timeFormat is RFC 3339 with nine digits.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

func marshal(r record) []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic("audit: a record of texts and numbers cannot be written as JSON: " + err.Error())
	}
	return b
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	s = cut(s, textBytesMax)
	return &s
}

// shorten cuts a text so far that even with every byte escaped the line keeps its limit.
func shorten(s *string) *string {
	if s == nil {
		return nil
	}
	t := cut(*s, 128)
	return &t
}

func cut(s string, bytesMax int) string {
	if len(s) <= bytesMax {
		return s
	}
	return strings.ToValidUTF8(s[:bytesMax], "")
}

func hashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// parsed is what a line says of its place in the chain.
type parsed struct {
	Seq   uint64 `json:"seq"`
	Event string `json:"event"`
	Prev  string `json:"prev"`
	hash  string
}

// parseLine reads a line without its newline and checks its own hash.
func parseLine(line []byte) (parsed, error) {
	var p parsed
	at := bytes.LastIndex(line, []byte(hashMark))
	if at < 0 || len(line) != at+hashRoom-1 {
		return p, fmt.Errorf("not a record")
	}
	p.hash = string(line[at+len(hashMark) : at+len(hashMark)+2*sha256.Size])
	if hashOf(line[:at]) != p.hash || !bytes.HasSuffix(line, []byte(`"}`)) {
		return p, fmt.Errorf("the line does not match its hash")
	}
	if err := json.Unmarshal(line, &p); err != nil {
		return p, fmt.Errorf("not a record: %w", err)
	}
	return p, nil
}

// end is what the last bytes of a file hold.
type end struct {
	pos          position
	found        bool  // pos is set
	foreignLines int   // complete lines after pos that are not ours
	goodBytes    int64 // up to the last newline
	tornBytes    int64 // after it: a line of ours that was not finished
	unended      bool  // the file ends with something else that has no newline; goodBytes includes it
}

// ours reports whether an unfinished line may be cut off: it is the beginning of a record, or zeros, which a power cut
// leaves where a record was to be.
func ours(torn []byte) bool {
	n := min(len(torn), len(lineStart))
	return len(torn) <= lineBytesMax && (string(torn[:n]) == lineStart[:n] || len(bytes.Trim(torn, "\x00")) == 0)
}

// lineStart begins every record.
const lineStart = `{"seq":`

// readEnd finds the last record in the last tailBytesRead bytes of a file.
func readEnd(f sys.File) (end, error) {
	st, err := f.Stat()
	if err != nil {
		return end{}, err
	}
	size := st.Size()
	from := max(0, size-int64(tailBytesRead))
	tail := make([]byte, size-from)
	if n, err := f.ReadAt(tail, from); err != nil && (err != io.EOF || n < len(tail)) {
		return end{}, err
	}
	newline := bytes.LastIndexByte(tail, '\n')
	e := end{goodBytes: from + int64(newline) + 1}
	if newline < 0 && from > 0 {
		// A line longer than any of ours: not ours to cut.
		return end{goodBytes: size, foreignLines: 1, unended: true}, nil
	}
	if torn := tail[newline+1:]; ours(torn) {
		e.tornBytes = int64(len(torn))
	} else {
		e.goodBytes, e.foreignLines, e.unended = size, 1, true
	}
	rest := tail[:newline+1]
	for len(rest) > 0 {
		start := bytes.LastIndexByte(rest[:len(rest)-1], '\n') + 1
		if p, err := parseLine(rest[start : len(rest)-1]); err == nil {
			e.pos, e.found = position{seq: p.Seq, hash: p.hash}, true
			return e, nil
		}
		e.foreignLines++
		rest = rest[:start]
	}
	return e, nil
}
