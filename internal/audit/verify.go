package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Report is what Verify found.
type Report struct {
	Records           int
	FirstSeq, LastSeq uint64
	// PrevHash is the hash that the first record names as its predecessor's: zeros at the very beginning, otherwise that
	// of the last record of the file before. LastHash is the hash of the last record.
	PrevHash, LastHash string
}

// BreakError says where a log was tampered with or damaged.
type BreakError struct {
	// Line counts from 1.
	Line   int
	Reason string
}

// Error names line and reason.
func (e *BreakError) Error() string { return fmt.Sprintf("audit: line %d: %s", e.Line, e.Reason) }

// Verify reads a whole log and finds a line that was removed, added, changed or moved: a *BreakError with the report up
// to there. A file begins with any number (older files were moved away), and whether it goes on where another one ends
// is seen by comparing PrevHash and FirstSeq with that one's LastHash and LastSeq. Reading is bounded by the limit of a
// line, not by the size of the file.
func Verify(r io.Reader) (Report, error) {
	var rep Report
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 0, lineBytesMax), lineBytesMax+1)
	scan.Split(scanWholeLines)
	for line := 1; scan.Scan(); line++ {
		b := scan.Bytes()
		if b[len(b)-1] != '\n' {
			return rep, &BreakError{line, "the last line is not complete"}
		}
		p, err := parseLine(b[:len(b)-1])
		if err != nil {
			return rep, &BreakError{line, err.Error()}
		}
		if reason := follows(rep, p); reason != "" {
			return rep, &BreakError{line, reason}
		}
		if rep.Records == 0 {
			rep.FirstSeq, rep.PrevHash = p.Seq, p.Prev
		}
		rep.Records++
		rep.LastSeq, rep.LastHash = p.Seq, p.hash
	}
	if err := scan.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return rep, &BreakError{rep.Records + 1, "longer than any record"}
		}
		return rep, fmt.Errorf("audit: verify: %w", err)
	}
	return rep, nil
}

// follows says why p cannot come after what was read, or nothing.
func follows(rep Report, p parsed) string {
	switch {
	case rep.Records == 0 && p.Event != eventBegin:
		return "the beginning of the log is missing"
	case rep.Records == 0:
		return ""
	case p.Event == eventBroken && p.Prev == zeroHash:
		return "an instance found lines here that it had not written"
	case p.Seq != rep.LastSeq+1:
		return fmt.Sprintf("number %d follows %d: records are missing, added or moved", p.Seq, rep.LastSeq)
	case p.Prev != rep.LastHash:
		return "the record does not follow the one before it"
	}
	return ""
}

// scanWholeLines is bufio.ScanLines with the newline kept, so that an incomplete last line can be told.
func scanWholeLines(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
