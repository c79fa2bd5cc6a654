package iproto

import (
	"testing"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// BenchmarkDecode decodes the requests that make up most of what clients send.
func BenchmarkDecode(b *testing.B) {
	key := msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 1), 123456)
	row := msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 3), 123456)
	row = msgpack.AppendStr(msgpack.AppendUint(row, 1<<31), "a payload of some bytes, as rows have one in the end")
	head := func(t Type) []byte {
		h := msgpack.AppendMapHeader(nil, 2)
		h = msgpack.AppendUint(msgpack.AppendUint(h, uint64(KeyType)), uint64(t))
		return msgpack.AppendUint(msgpack.AppendUint(h, uint64(KeySync)), 100_000)
	}
	sel := msgpack.AppendMapHeader(head(TypeSelect), 6)
	for _, kv := range [][2]uint64{{uint64(KeySpaceID), 512}, {uint64(KeyIndexID), 0}, {uint64(KeyLimit), 0xffffffff},
		{uint64(KeyOffset), 0}, {uint64(KeyIterator), 0}} {
		sel = msgpack.AppendUint(msgpack.AppendUint(sel, kv[0]), kv[1])
	}
	sel = append(msgpack.AppendUint(sel, uint64(KeyKey)), key...)
	rep := msgpack.AppendUint(msgpack.AppendUint(msgpack.AppendMapHeader(head(TypeReplace), 2), uint64(KeySpaceID)), 512)
	rep = append(msgpack.AppendUint(rep, uint64(KeyTuple)), row...)
	for name, frame := range map[string][]byte{"select": sel, "replace": rep, "ping": head(TypePing)} {
		b.Run(name, func(b *testing.B) {
			var r Request
			for range b.N {
				if err := DecodeRequest(frame, &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
