package snap

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// Default limits of a reader. A block holds at least one whole row and one whole transaction.
const (
	DefaultMetaBytesMax  = 64 << 10
	DefaultBlockBytesMax = 256 << 20
)

const (
	readChunkBytes = 256 << 10
	// zstdWindowMax is the largest window that a compressed block may ask for; Tarantool's blocks ask for 2 MiB.
	zstdWindowMax = 8 << 20
	// zstdBlockBytesMax is what one block inside a zstd frame can hold at most, and zstdBlockHeader what it costs at
	// least: together they bound what a frame of a given size can truthfully claim to hold.
	zstdBlockBytesMax = 128 << 10
	zstdBlockHeader   = 3
)

// Limits bounds what a reader takes memory for. Zero fields mean the defaults.
type Limits struct {
	// MetaBytesMax is the largest text header, in bytes.
	MetaBytesMax int
	// BlockBytesMax is the largest block, in bytes, as stored and after decompression.
	BlockBytesMax int
}

// Reader reads one file. It is not safe for concurrent use. Memory grows with the bytes that were read, never with the
// length that a block claims; for a compressed block, up to the limit and to what its bytes can truthfully hold.
type Reader struct {
	in     *bufio.Reader
	limits Limits
	meta   Meta
	// offset is the position in the file of the next byte from in.
	offset int64
	// block is the block that rest is the end of; payloadBytes is its size after decompression.
	block        Block
	payloadBytes int
	rest         []byte
	unpacker     Unpacker
	err          error
}

// Block is a block as it is in the file. Whether its bytes are right is found out by Unpacker.
type Block struct {
	// Offset is its position in the file, in bytes.
	Offset   int64
	kind     Kind // of the file
	magic    uint32
	checksum uint32
	stored   []byte
}

// Unpacker checks and decompresses blocks of any files: each goroutine has its own. The zero value has the default limits.
type Unpacker struct {
	bytesMax int
	plain    []byte
	decoder  *zstd.Decoder
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NewReader reads the text header of a file. A failure is an *Error.
func NewReader(r io.Reader, limits Limits) (*Reader, error) {
	if limits.MetaBytesMax <= 0 {
		limits.MetaBytesMax = DefaultMetaBytesMax
	}
	if limits.BlockBytesMax <= 0 {
		limits.BlockBytesMax = DefaultBlockBytesMax
	}
	rd := &Reader{in: bufio.NewReaderSize(r, 64<<10), limits: limits, unpacker: Unpacker{bytesMax: limits.BlockBytesMax}}
	if err := rd.readMeta(); err != nil {
		return nil, err
	}
	return rd, nil
}

// Meta returns the text header. The caller must not change its maps.
func (r *Reader) Meta() Meta { return r.meta }

// BlockOffset is the position in the file, in bytes, of the block that the last returned row is in.
func (r *Reader) BlockOffset() int64 { return r.block.Offset }

// Offset is the position in the file of the first byte that was not consumed yet: after an error with ErrNoEOF, and
// after every row, all blocks before it were read and their checksums were right.
func (r *Reader) Offset() int64 { return r.offset }

// Next returns the next row, io.EOF after the end marker, or an *Error. Errors stay. The row's slices are valid until
// the next call.
func (r *Reader) Next() (Row, error) {
	var row Row
	for len(r.rest) == 0 {
		if err := r.ReadBlock(&r.block); err != nil {
			return Row{}, err
		}
		if r.rest, r.err = r.unpacker.Unpack(&r.block); r.err != nil {
			return Row{}, r.err
		}
		r.payloadBytes = len(r.rest)
	}
	rest, err := decodeRow(r.rest, &row, r.meta.Kind)
	if err != nil {
		r.err = r.block.rowError(r.payloadBytes-len(r.rest), err)
		r.rest = nil
		return Row{}, r.err
	}
	r.rest = rest
	return row, nil
}

// Cap is the size of the memory that the block uses again, in bytes.
func (b *Block) Cap() int { return cap(b.stored) }

// Cap is the size of the memory that the unpacker uses again, in bytes.
func (u *Unpacker) Cap() int { return cap(u.plain) }

func (b *Block) rowError(at int, err error) error {
	return &Error{Offset: b.Offset, What: fmt.Sprintf("row at byte %d of the block: %v", at, err), Err: ErrCorrupt}
}

// Rows yields the rows of an unpacked block, until yield fails. The slices of a row are parts of the payload.
func (b *Block) Rows(payload []byte, yield func(*Row) error) error {
	var row Row
	for rest := payload; len(rest) > 0; {
		next, err := decodeRow(rest, &row, b.kind)
		if err != nil {
			return b.rowError(len(payload)-len(rest), err)
		}
		if err := yield(&row); err != nil {
			return err
		}
		rest = next
	}
	return nil
}

// ReadBlock reads the next block into b, whose memory it uses again, without looking at what is in it; Unpacker does
// that, on another goroutine if there is one. io.EOF after the end marker, or an *Error. Errors stay. A file is read by
// ReadBlock or by Next, not by both.
func (r *Reader) ReadBlock(b *Block) error {
	if r.err == nil {
		r.err = r.readBlock(b)
	}
	return r.err
}

// isMagicLine reports whether text begins like a file of a known kind, or may do so when more of it is there.
func isMagicLine(text []byte) bool {
	return slices.ContainsFunc(kinds[:], func(k Kind) bool {
		line := []byte(k + "\n")
		return bytes.HasPrefix(text, line) || bytes.HasPrefix(line, text)
	})
}

func (r *Reader) readMeta() error {
	var text []byte
	for {
		line, err := r.in.ReadSlice('\n')
		text = append(text, line...)
		switch {
		case !isMagicLine(text):
			return &Error{Offset: 0, What: fmt.Sprintf("unknown file kind %.20q", text), Err: ErrCorrupt}
		case len(text) > r.limits.MetaBytesMax:
			return &Error{Offset: 0, What: fmt.Sprintf("the header is longer than %d bytes", r.limits.MetaBytesMax), Err: ErrLimit}
		case err == io.EOF:
			return &Error{Offset: int64(len(text)), What: "the file ends inside its header", Err: ErrNoEOF}
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return &Error{Offset: int64(len(text)), What: "read the header", Err: err}
		}
		if bytes.HasSuffix(text, []byte("\n\n")) || len(text) == 1 {
			break
		}
	}
	meta, offset, err := parseMeta(text[:len(text)-1])
	if err != nil {
		return &Error{Offset: int64(offset), What: err.Error(), Err: ErrCorrupt}
	}
	r.meta, r.offset, r.block.Offset = meta, int64(len(text)), int64(len(text))
	return nil
}

// readBlock reads the next block, or returns io.EOF at the end marker.
func (r *Reader) readBlock(b *Block) error {
	start := r.offset
	var head [fixHeaderBytes]byte
	if err := r.readFull(start, head[:4], "the block header"); err != nil {
		return err
	}
	switch binary.BigEndian.Uint32(head[:4]) {
	case magicEOF:
		return r.expectEnd()
	case 0:
		return r.expectZeros(start)
	}
	if err := r.readFull(start, head[4:], "the block header"); err != nil {
		return err
	}
	h, err := parseFixHeader(&head)
	if err != nil {
		return &Error{Offset: start, What: err.Error(), Err: ErrCorrupt}
	}
	if h.length == 0 {
		return &Error{Offset: start, What: "an empty block", Err: ErrCorrupt}
	}
	if h.length > uint64(r.limits.BlockBytesMax) {
		return &Error{Offset: start, What: fmt.Sprintf("a block of %d bytes", h.length), Err: ErrLimit}
	}
	b.Offset, b.kind, b.magic, b.checksum = start, r.meta.Kind, h.magic, h.checksum
	if err := r.readPayload(b, int(h.length)); err != nil {
		return err
	}
	r.offset = start + fixHeaderBytes + int64(h.length)
	return nil
}

// Unpack checks a block and returns its content, which is valid until the next call or, where the block was not
// compressed, until the block is read anew. Errors are *Error.
func (u *Unpacker) Unpack(b *Block) (payload []byte, err error) {
	if sum := blockChecksum(castagnoli, b.stored); sum != b.checksum {
		what := fmt.Sprintf("block checksum %08x instead of %08x", sum, b.checksum)
		return nil, &Error{Offset: b.Offset, What: what, Err: ErrCorrupt}
	}
	if b.magic != magicZstd {
		return b.stored, nil
	}
	if err := u.decompress(b); err != nil {
		return nil, err
	}
	return u.plain, nil
}

// readFull fills b; start is the offset of the block that b belongs to.
func (r *Reader) readFull(start int64, b []byte, what string) error {
	_, err := io.ReadFull(r.in, b)
	switch {
	case err == nil:
		return nil
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return &Error{Offset: start, What: "the file ends before or inside " + what, Err: ErrNoEOF}
	}
	return &Error{Offset: start, What: "read " + what, Err: err}
}

// readPayload reads n bytes into the block, whose memory grows only as bytes arrive.
func (r *Reader) readPayload(b *Block, n int) error {
	b.stored = b.stored[:0]
	for len(b.stored) < n {
		have := len(b.stored)
		step := min(n-have, max(have, readChunkBytes, cap(b.stored)-have))
		if cap(b.stored) < have+step {
			grown := make([]byte, have, have+step)
			copy(grown, b.stored)
			b.stored = grown
		}
		b.stored = b.stored[:have+step]
		if err := r.readFull(b.Offset, b.stored[have:], "a block"); err != nil {
			return err
		}
	}
	return nil
}

// decompress turns the block into plain. The output buffer is the decoder's limit: it is doubled while the decoder asks
// for more, up to what the compressed size can hold and the limit allows.
func (u *Unpacker) decompress(b *Block) error {
	if u.bytesMax <= 0 {
		u.bytesMax = DefaultBlockBytesMax
	}
	if u.decoder == nil {
		decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindowMax), zstd.WithDecoderMaxMemory(uint64(u.bytesMax)),
			zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return &Error{Offset: b.Offset, What: "start the decompressor", Err: err}
		}
		u.decoder = decoder
	}
	possible := uint64(len(b.stored)/zstdBlockHeader+1) * zstdBlockBytesMax
	bound := int(min(possible, uint64(u.bytesMax)))
	size := min(max(cap(u.plain), readChunkBytes), bound)
	for {
		if cap(u.plain) < size {
			u.plain = make([]byte, 0, size)
		}
		out, err := u.decoder.DecodeAll(b.stored, u.plain[:0:size])
		switch {
		case err == nil && len(out) == 0:
			return &Error{Offset: b.Offset, What: "an empty block", Err: ErrCorrupt}
		case err == nil:
			u.plain = out
			return nil
		case !errors.Is(err, zstd.ErrDecoderSizeExceeded):
			return &Error{Offset: b.Offset, What: "decompress: " + err.Error(), Err: ErrCorrupt}
		case size == bound && uint64(bound) == possible:
			return &Error{Offset: b.Offset, What: "decompress: the block claims more than it can hold", Err: ErrCorrupt}
		case size == bound:
			return &Error{Offset: b.Offset, What: fmt.Sprintf("a block of more than %d bytes", bound), Err: ErrLimit}
		}
		size = min(2*size, bound)
	}
}

// expectEnd checks that nothing follows the end marker.
func (r *Reader) expectEnd() error {
	r.offset += 4
	_, err := r.in.ReadByte()
	switch err {
	case io.EOF:
		return io.EOF
	case nil:
		return &Error{Offset: r.offset, What: "bytes after the end marker", Err: ErrCorrupt}
	}
	return &Error{Offset: r.offset, What: "read after the end marker", Err: err}
}

// expectZeros handles the tail of a log whose file was allocated ahead of its content: zeros to the end of the file
// mean that it has no end marker, anything else is damage.
func (r *Reader) expectZeros(start int64) error {
	at := start + 4
	for {
		_, err := r.in.Peek(1)
		switch {
		case err == io.EOF:
			return &Error{Offset: start, What: "the file ends with zeros", Err: ErrNoEOF}
		case err != nil:
			return &Error{Offset: at, What: "read the tail", Err: err}
		}
		chunk, _ := r.in.Peek(r.in.Buffered())
		for i, c := range chunk {
			if c != 0 {
				return &Error{Offset: at + int64(i), What: "bytes after a tail of zeros", Err: ErrCorrupt}
			}
		}
		at += int64(len(chunk))
		_, _ = r.in.Discard(len(chunk))
	}
}
