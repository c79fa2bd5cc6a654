package console

import (
	"bufio"
	"context"
	"strconv"
	"strings"

	"github.com/rivo/uniseg"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Format is how answers are shown.
type Format string

// The formats.
const (
	FormatTable Format = "table"
	FormatJSON  Format = "json"
	FormatYAML  Format = "yaml"
)

// printer writes answers. It goes through the bytes of the answer row by row and keeps no second copy of them; a table
// is gone through twice, the first time for the widths of its columns.
type printer struct {
	out      *bufio.Writer
	format   Format
	expanded bool
	buf      []byte
}

// rows writes an array of rows. A row that is not an array is one cell. With objects the columns are names of a
// description, not of tuples, and JSON and YAML show them with each row. It stops when the context ends.
func (p *printer) rows(ctx context.Context, columns []string, data []byte, objects bool) error {
	n, b, err := msgpack.ReadArrayLen(data)
	if err != nil {
		return err
	}
	switch {
	case p.format == FormatJSON:
		err = p.each(ctx, n, b, func(_ int, row []byte) {
			p.buf = p.object(p.buf, columns, row, objects, jsonText)
			p.line()
		})
	case p.format == FormatYAML:
		err = p.yaml(ctx, columns, n, b, objects)
	case p.expanded:
		err = p.records(ctx, columns, n, b)
	default:
		err = p.table(ctx, columns, n, b)
	}
	if err == nil && p.format == FormatTable {
		p.count(n)
	}
	if errFlush := p.out.Flush(); err == nil {
		err = errFlush
	}
	return err
}

func (p *printer) count(n int) {
	text := strconv.Itoa(n) + " rows"
	if n == 1 {
		text = "1 row"
	}
	p.buf = append(p.buf[:0], '(')
	p.buf = append(append(p.buf, text...), ')')
	p.line()
}

// line writes the buffer as a line and empties it. Errors of the writer are seen by Flush.
func (p *printer) line() {
	p.buf = append(p.buf, '\n')
	_, _ = p.out.Write(p.buf)
	p.buf = p.buf[:0]
}

// each visits the n values in b until the context ends or writing fails.
func (p *printer) each(ctx context.Context, n int, b []byte, visit func(i int, row []byte)) error {
	const checkEvery = 256
	for i := range n {
		if i%checkEvery == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := p.out.Write(nil); err != nil {
				return err
			}
		}
		row := b[:msgpack.SizeTrusted(b)]
		b = b[len(row):]
		visit(i, row)
	}
	return nil
}

// object appends a row in JSON or in YAML's flow style.
func (p *printer) object(dst []byte, columns []string, row []byte, objects bool, d dialect) []byte {
	if !objects || msgpack.TypeOf(row[0]) != msgpack.TypeArray {
		dst, _ = appendValue(dst, row, d)
		return dst
	}
	dst = append(dst, '{')
	n, b := msgpack.ArrayLenTrusted(row)
	for i := range n {
		if i > 0 {
			dst = append(dst, separator(d)...)
		}
		dst = append(appendString(dst, []byte(column(columns, i))), ':')
		if d == yamlText {
			dst = append(dst, ' ')
		}
		dst, b = appendValue(dst, b, d)
	}
	return append(dst, '}')
}

func (p *printer) yaml(ctx context.Context, columns []string, n int, b []byte, objects bool) error {
	p.buf = append(p.buf[:0], "---"...)
	p.line()
	err := p.each(ctx, n, b, func(_ int, row []byte) {
		p.buf = p.object(append(p.buf, "- "...), columns, row, objects, yamlText)
		p.line()
	})
	p.buf = append(p.buf, "..."...)
	p.line()
	return err
}

// column names a column: fields without a name have their number from 1.
func column(columns []string, i int) string {
	if i < len(columns) {
		return columns[i]
	}
	return strconv.Itoa(i + 1)
}

// cells visits the cells of a row.
func (p *printer) cells(row []byte, visit func(i int, cell, value []byte)) int {
	n, b := 1, row
	if msgpack.TypeOf(row[0]) == msgpack.TypeArray {
		n, b = msgpack.ArrayLenTrusted(row)
	}
	var cell []byte
	for i := range n {
		value := b
		cell, b = appendCell(cell[:0], b)
		visit(i, cell, value)
	}
	return n
}

// layout is what a table knows of its columns before it is written.
type layout struct {
	titles []string
	widths []int
	right  []bool // only numbers and nulls so far
}

func (l *layout) see(columns []string, i int, cell, value []byte) {
	for i >= len(l.widths) {
		title := string(appendPlain(nil, []byte(column(columns, len(l.titles)))))
		l.titles = append(l.titles, title)
		l.widths = append(l.widths, uniseg.StringWidth(title))
		l.right = append(l.right, true)
	}
	if value == nil {
		return
	}
	l.widths[i] = max(l.widths[i], cellWidth(cell))
	switch msgpack.TypeOf(value[0]) {
	case msgpack.TypeUint, msgpack.TypeInt, msgpack.TypeFloat32, msgpack.TypeFloat64, msgpack.TypeNil:
	default:
		l.right[i] = false
	}
}

// cellWidth is how many columns of the screen a text takes.
func cellWidth(s []byte) int {
	for _, c := range s {
		if c >= 0x80 {
			return uniseg.StringWidth(string(s))
		}
	}
	return len(s) // cells have no control characters
}

func (p *printer) table(ctx context.Context, columns []string, n int, b []byte) error {
	l := layout{}
	if len(columns) > 0 {
		l.see(columns, len(columns)-1, nil, nil)
	}
	err := p.each(ctx, n, b, func(_ int, row []byte) {
		p.cells(row, func(i int, cell, value []byte) { l.see(columns, i, cell, value) })
	})
	if err != nil || len(l.widths) == 0 {
		return err
	}
	for i, title := range l.titles {
		p.between(i)
		p.pad(l.widths[i]-uniseg.StringWidth(title), title, false)
	}
	p.endRow()
	for i, width := range l.widths {
		if i > 0 {
			p.buf = append(p.buf, "-+-"...)
		}
		p.buf = append(p.buf, strings.Repeat("-", width)...)
	}
	p.line()
	return p.each(ctx, n, b, func(_ int, row []byte) {
		p.cells(row, func(i int, cell, _ []byte) {
			p.between(i)
			p.pad(l.widths[i]-cellWidth(cell), string(cell), l.right[i])
		})
		p.endRow()
	})
}

func (p *printer) between(i int) {
	if i > 0 {
		p.buf = append(p.buf, " | "...)
	}
}

func (p *printer) pad(spaces int, text string, right bool) {
	if !right {
		p.buf = append(p.buf, text...)
	}
	p.buf = append(p.buf, strings.Repeat(" ", spaces)...)
	if right {
		p.buf = append(p.buf, text...)
	}
}

// endRow writes a row without the spaces at its end.
func (p *printer) endRow() {
	n := len(p.buf)
	for n > 0 && p.buf[n-1] == ' ' {
		n--
	}
	p.buf = p.buf[:n]
	p.line()
}

// records writes a table with each field on a line of its own.
func (p *printer) records(ctx context.Context, columns []string, n int, b []byte) error {
	return p.each(ctx, n, b, func(i int, row []byte) {
		p.buf = append(strconv.AppendInt(append(p.buf, "-[ "...), int64(i+1), 10), " ]-----"...)
		p.line()
		width := 0
		for i := range p.cells(row, func(int, []byte, []byte) {}) {
			width = max(width, uniseg.StringWidth(string(appendPlain(nil, []byte(column(columns, i))))))
		}
		p.cells(row, func(i int, cell, _ []byte) {
			title := string(appendPlain(nil, []byte(column(columns, i))))
			p.pad(width-uniseg.StringWidth(title), title, false)
			p.buf = append(append(p.buf, " | "...), cell...)
			p.endRow()
		})
	})
}

// document writes a map: a line for each key in a table, else the map.
func (p *printer) document(ctx context.Context, doc []byte) error {
	n, b, err := msgpack.ReadMapLen(doc)
	if err != nil || p.format != FormatTable {
		one := append(msgpack.AppendArrayHeader(nil, 1), doc...)
		return p.rows(ctx, nil, one, false)
	}
	width := 0
	for rest, i := b, 0; i < n; i++ {
		var key []byte
		key, rest = appendCell(nil, rest)
		rest = msgpack.SkipTrusted(rest)
		width = max(width, cellWidth(key))
	}
	for range n {
		var key []byte
		key, b = appendCell(nil, b)
		p.pad(width-cellWidth(key), string(key), false)
		p.buf = append(p.buf, " | "...)
		p.buf, b = appendCell(p.buf, b)
		p.endRow()
	}
	return p.out.Flush()
}

// text writes lines for people, in tables only: JSON and YAML are left to values.
func (p *printer) text(s string) error {
	if p.format == FormatTable {
		_, _ = p.out.WriteString(s + "\n")
	}
	return p.out.Flush()
}
