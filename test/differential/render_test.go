package differential

import (
	"fmt"
	"strings"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// shownBytesMax is how much of a value a report shows.
const shownBytesMax = 600

var keyNames = map[uint64]string{
	uint64(iproto.KeySpaceID): "space", uint64(iproto.KeyIndexID): "index", uint64(iproto.KeyLimit): "limit",
	uint64(iproto.KeyOffset): "offset", uint64(iproto.KeyIterator): "iterator", uint64(iproto.KeyIndexBase): "base",
	uint64(iproto.KeyKey): "key", uint64(iproto.KeyTuple): "tuple", uint64(iproto.KeyOps): "ops",
}

// String renders the request for people.
func (r *request) String() string {
	name := iproto.TypeName(r.kind)
	n, b, err := msgpack.ReadMapLen(r.body)
	if err != nil || msgpack.Check(r.body) != nil {
		return fmt.Sprintf("%s with the body %x", name, clip(r.body))
	}
	var parts []string
	for range n {
		value := msgpack.SkipTrusted(b)
		label := shown(b[:len(b)-len(value)])
		if key, _, err := msgpack.ReadUint(b); err == nil && keyNames[key] != "" {
			label = keyNames[key]
		}
		b = msgpack.SkipTrusted(value)
		parts = append(parts, label+"="+shown(value[:len(value)-len(b)]))
	}
	return name + " " + strings.Join(parts, " ")
}

func clip(b []byte) []byte { return b[:min(len(b), shownBytesMax)] }

// shown renders a value as JSON, and where JSON hides the encoding as bytes too.
func shown(b []byte) string {
	text, err := msgpack.ToJSON(nil, b)
	if err != nil {
		return fmt.Sprintf("%x", clip(b))
	}
	if len(text) > shownBytesMax {
		return string(text[:shownBytesMax]) + "…"
	}
	return string(text)
}

// String renders an answer for people.
func (a *answer) String() string {
	if a.err != nil {
		return errorText(a.err)
	}
	if rows := a.rows(); rows != nil {
		var b strings.Builder
		fmt.Fprintf(&b, "%d rows", len(rows))
		for i, row := range rows {
			if i == 12 {
				b.WriteString(" …")
				break
			}
			fmt.Fprintf(&b, "\n      %s  (%x)", shown(row), clip(row))
		}
		return b.String()
	}
	return fmt.Sprintf("body %x", clip(a.body))
}
