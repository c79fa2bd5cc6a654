package snap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Compression says whether and how hard the writer compresses blocks of 2 KiB and more.
type Compression uint8

// The compression levels, weakest work last. The zero value is about Tarantool's own level.
const (
	CompressionDefault Compression = iota
	CompressionFastest
	CompressionOff
)

// WriterOptions are the choices of a writer.
type WriterOptions struct {
	Compression Compression
}

// Writer writes one file. It is not safe for concurrent use, buffers up to a block (128 KiB, or one transaction or row
// if that is larger), and after an error returns the same error for ever.
type Writer struct {
	w       io.Writer
	kind    Kind
	options WriterOptions
	encoder *zstd.Encoder
	// block is a block under construction: room for its header, then the rows.
	block []byte
	// packed is the compressed form of a block.
	packed []byte
	// openTransaction is set between the first and the last row of a transaction of several rows.
	openTransaction bool
	rows            uint64
	bytes           int64
	err             error
}

// NewWriter writes the text header and returns a writer with the default options.
func NewWriter(w io.Writer, meta Meta) (*Writer, error) {
	return NewWriterOptions(w, meta, WriterOptions{})
}

// NewWriterOptions writes the text header and returns the writer. It fails if the header cannot be written in a way that
// Tarantool reads: an unknown kind, a bad uuid, more than MetaBytesMax bytes.
func NewWriterOptions(w io.Writer, meta Meta, options WriterOptions) (*Writer, error) {
	header, err := meta.appendTo(nil)
	if err != nil {
		return nil, err
	}
	wr := &Writer{w: w, kind: meta.Kind, options: options}
	if options.Compression != CompressionOff {
		level := zstd.SpeedDefault
		if options.Compression == CompressionFastest {
			level = zstd.SpeedFastest
		}
		wr.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(level),
			zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
		if err != nil {
			return nil, fmt.Errorf("snap: compressor: %w", err)
		}
	}
	wr.block = make([]byte, fixHeaderBytes, fixHeaderBytes+blockBytesGoal+(16<<10))
	if err := wr.write(header); err != nil {
		return nil, err
	}
	return wr, nil
}

// WriteRow adds a row. In a snapshot the writer numbers the rows itself, whatever the row's LSN says, and rows must be
// INSERTs of single-row transactions; in a log a transaction of several rows (HasTSN, FlagCommit on the last) is kept in
// one block. A row that could not be read back is refused without harm to the file. Nothing of the row is kept.
func (w *Writer) WriteRow(row Row) error {
	if w.err != nil {
		return w.err
	}
	if err := w.check(&row); err != nil {
		return fmt.Errorf("snap: row %d: %w", w.rows, err)
	}
	if w.kind == KindSnap {
		row.LSN = w.rows
	}
	mark := len(w.block)
	w.block = appendRow(w.block, &row, w.kind == KindSnap)
	if n := len(w.block) - fixHeaderBytes; n > DefaultBlockBytesMax {
		w.block = w.block[:mark]
		return fmt.Errorf("snap: row %d: a block of %d bytes: %w", w.rows, n, ErrLimit)
	}
	if len(w.block)-fixHeaderBytes > blockBytesGoal && mark > fixHeaderBytes && !w.openTransaction {
		if err := w.flushBefore(mark); err != nil {
			return err
		}
	}
	w.openTransaction = !row.Commit()
	w.rows++
	if len(w.block)-fixHeaderBytes >= blockBytesGoal && !w.openTransaction {
		return w.flushBefore(len(w.block))
	}
	return nil
}

func (w *Writer) check(row *Row) error {
	if w.kind == KindSnap {
		if row.HasTSN {
			return errors.New("a snapshot has no transactions")
		}
		if row.Type == TypeInsert && row.Tuple == nil {
			return errors.New("it has no tuple")
		}
	}
	return checkRow(row)
}

// Flush ends the current block. It fails inside a transaction, which must not be torn over blocks.
func (w *Writer) Flush() error {
	if w.err != nil {
		return w.err
	}
	if w.openTransaction {
		return fmt.Errorf("snap: flush inside a transaction at row %d", w.rows)
	}
	return w.flushBefore(len(w.block))
}

// Close writes the last block and the end marker. It neither syncs nor closes what is below.
func (w *Writer) Close() error {
	if err := w.Flush(); err != nil {
		return err
	}
	if err := w.write(binary.BigEndian.AppendUint32(nil, magicEOF)); err != nil {
		return err
	}
	w.err = errors.New("snap: the writer is closed")
	return nil
}

// Rows is the number of rows written so far.
func (w *Writer) Rows() uint64 { return w.rows }

// Bytes is the number of bytes handed to the underlying writer so far.
func (w *Writer) Bytes() int64 { return w.bytes }

// flushBefore writes the first end bytes of the block buffer as a block and keeps the rest as the start of the next one.
func (w *Writer) flushBefore(end int) error {
	payload := w.block[fixHeaderBytes:end]
	if len(payload) == 0 {
		return nil
	}
	out, magic := w.block[:end], uint32(magicPlain)
	if w.encoder != nil && len(payload) >= compressBytesMin {
		if cap(w.packed) < fixHeaderBytes {
			w.packed = make([]byte, fixHeaderBytes, fixHeaderBytes+blockBytesGoal/2)
		}
		w.packed = w.encoder.EncodeAll(payload, w.packed[:fixHeaderBytes])
		if len(w.packed) < len(out) {
			out, magic = w.packed, magicZstd
		}
	}
	putFixHeader(out, magic, blockChecksum(castagnoli, out[fixHeaderBytes:]))
	if err := w.write(out); err != nil {
		return err
	}
	kept := copy(w.block[fixHeaderBytes:], w.block[end:])
	w.block = w.block[:fixHeaderBytes+kept]
	return nil
}

// putFixHeader fills the first 19 bytes of a block. The padding string makes up for the varying width of the numbers.
func putFixHeader(block []byte, magic, checksum uint32) {
	var scratch [32]byte
	head := binary.BigEndian.AppendUint32(scratch[:0], magic)
	head = appendFixUint(head, uint32(len(block)-fixHeaderBytes))
	head = append(head, 0)
	head = appendFixUint(head, checksum)
	padding := fixHeaderBytes - len(head) - 1
	head = append(head, 0xa0|byte(padding))
	clear(block[:fixHeaderBytes])
	copy(block, head)
}

func (w *Writer) write(b []byte) error {
	n, err := w.w.Write(b)
	w.bytes += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("snap: write at offset %d: %w", w.bytes, err)
	}
	return w.err
}
