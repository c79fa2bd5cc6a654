package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

// history is what a primary logged after its checkpoint.
type history struct {
	primary *box.Engine
	dir     string
	entries [][]byte
}

// newHistory replaces rows again and again, in entries of which some are larger than a chunk.
func newHistory(t *testing.T) *history {
	h := &history{primary: filled(t), dir: t.TempDir()}
	write(t, h.primary, h.dir)
	for v := range uint64(9) {
		h.primary.Begin(checkpointAt + 1 + v)
		for n := range uint64(100 + v%7*500) {
			key := (v*977 + n*13) % (2 * rowCount)
			if _, err := h.primary.Execute(&box.Statement{Kind: box.Replace, SpaceID: spaceID, Tuple: row(key)}); err != nil {
				t.Fatal(err)
			}
		}
		h.entries = append(h.entries, bytes.Clone(h.primary.Seal()))
		h.primary.Publish(checkpointAt + 1 + v)
	}
	return h
}

// replay recovers; entry gives the bytes of one entry, or an error.
func (h *history) replay(t *testing.T, entry func(n int) ([]byte, error)) (*box.Engine, Loaded, error) {
	t.Helper()
	e := newEngine(t)
	loaded, err := Load(e, real.FS{}, h.dir, checkpointAt, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e, loaded, loaded.Replay(func(take Take) error {
		var reused []byte
		for n := range h.entries {
			data, err := entry(n)
			if err != nil {
				return err
			}
			reused = append(reused[:0], data...)
			if err := take(checkpointAt+1+uint64(n), reused, nil); err != nil {
				return err
			}
			for i := range reused { // what it was given is not its own
				reused[i] = 0xdb
			}
		}
		return nil
	})
}

func TestReplay(t *testing.T) {
	h := newHistory(t)
	fresh, loaded, err := h.replay(t, func(n int) ([]byte, error) { return h.entries[n], nil })
	if err != nil {
		t.Fatal(err)
	}
	loaded.Finish(checkpointAt + uint64(len(h.entries)))
	want, have := dump(h.primary), dump(fresh)
	if len(want) != len(have) {
		t.Fatalf("%d rows, want %d", len(have), len(want))
	}
	for i := range want {
		if want[i] != have[i] {
			t.Fatalf("row %d: %s, want %s", i, have[i], want[i])
		}
	}
	if g := fresh.Memory(); g.RetiredBytes != 0 {
		t.Errorf("%d bytes wait for readers, of which there are none", g.RetiredBytes)
	}
}

// Whatever fails, at whatever entry, ends the replay with its own error.
func TestReplayFails(t *testing.T) {
	h := newHistory(t)
	own := errors.New("the log can not be read")
	for _, at := range []int{0, 5} {
		for name, bad := range map[string]struct {
			data []byte
			err  error
			want string
		}{
			"reading":  {err: own, want: own.Error()},
			"decoding": {data: []byte{9}, want: fmt.Sprintf("entry %d: malformed", checkpointAt+1+at)},
			"applying": {data: append(bytes.Clone(h.entries[3]), 2, 0xbc, 5, 2, 0x91, 0xff), want: fmt.Sprintf("apply entry %d", checkpointAt+1+at)},
		} {
			_, _, err := h.replay(t, func(n int) ([]byte, error) {
				if n == at {
					return bad.data, bad.err
				}
				return h.entries[n], nil
			})
			if err == nil || !strings.Contains(err.Error(), bad.want) {
				t.Errorf("%s fails at entry %d: %v", name, at, err)
			}
		}
	}
}
