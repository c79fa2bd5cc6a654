package audit

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/meter"
)

// chain makes a log of n records without a file.
func chain(n int) [][]byte {
	pos := position{hash: zeroHash}
	var lines [][]byte
	for i := range n {
		e := Entry{Event: "e", What: fmt.Sprint("thing ", i)}
		if i == 0 {
			e = Entry{Event: eventBegin, Detail: formatDetail()}
		}
		var line []byte
		line, pos = encode(pos, t0, e)
		lines = append(lines, line)
	}
	return lines
}

func broken(t *testing.T, lines [][]byte) *BreakError {
	t.Helper()
	_, err := Verify(bytes.NewReader(bytes.Join(lines, nil)))
	var b *BreakError
	if err != nil && !errors.As(err, &b) {
		t.Fatalf("error is %v", err)
	}
	return b
}

func TestVerifyFindsEveryRemovedLine(t *testing.T) {
	for i := range 9 { // of ten; the last one's absence cannot be seen
		lines := chain(10)
		if b := broken(t, append(lines[:i], lines[i+1:]...)); b == nil || b.Line != i+1 {
			t.Errorf("line %d removed: %v", i+1, b)
		}
	}
	if b := broken(t, chain(10)); b != nil {
		t.Error(b)
	}
}

func TestVerifyFindsEveryChangedByte(t *testing.T) {
	whole := bytes.Join(chain(4), nil)
	for i := range whole {
		for _, bit := range []byte{1, 0x20, 0x80} {
			changed := bytes.Clone(whole)
			changed[i] ^= bit
			if _, err := Verify(bytes.NewReader(changed)); err == nil {
				t.Fatalf("byte %d changed from %q to %q: not found", i, whole[i], changed[i])
			}
		}
	}
}

func TestVerifyFindsAddedMovedAndRewrittenLines(t *testing.T) {
	lines := chain(6)
	lines[2], lines[3] = lines[3], lines[2]
	if b := broken(t, lines); b == nil || b.Line != 3 {
		t.Errorf("lines changed places: %v", b)
	}
	lines = chain(6)
	if b := broken(t, append(lines[:3:3], append([][]byte{lines[2]}, lines[3:]...)...)); b == nil || b.Line != 4 {
		t.Errorf("a line was doubled: %v", b)
	}
	// Somebody who can compute hashes rewrites one record: the next one gives it away.
	lines = chain(6)
	first, _ := parseLine(bytes.TrimSuffix(lines[1], []byte("\n")))
	lines[2], _ = encode(position{seq: 2, hash: first.hash}, t0, Entry{Event: "e", What: "something else"})
	if b := broken(t, lines); b == nil || b.Line != 4 {
		t.Errorf("a line was rewritten: %v", b)
	}
	if b := broken(t, append(chain(2), []byte(`{"seq":3`))); b == nil || b.Line != 3 {
		t.Errorf("an incomplete line: %v", b)
	}
	if b := broken(t, [][]byte{[]byte(strings.Repeat("x", 1<<20))}); b == nil || b.Line != 1 {
		t.Errorf("an endless line: %v", b)
	}
	if rep, err := Verify(strings.NewReader("")); err != nil || rep.Records != 0 {
		t.Errorf("an empty log: %+v, %v", rep, err)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(bytes.Join(chain(3), nil))
	f.Add([]byte("\n"))
	f.Add([]byte(`{"seq":1,"hash":"` + zeroHash + "\"}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		meter.CheckBound(t, len(b), uint64(1<<20+256*len(b)), func() { _, _ = Verify(bytes.NewReader(b)) })
		rep, err := Verify(bytes.NewReader(b))
		if err == nil && rep.Records != bytes.Count(b, []byte("\n")) {
			t.Errorf("%d records of %d lines", rep.Records, bytes.Count(b, []byte("\n")))
		}
	})
}
