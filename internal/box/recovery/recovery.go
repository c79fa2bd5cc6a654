// Package recovery fills an engine from the newest snapshot of a directory. Effects: files. The log that follows the
// snapshot is replayed by the data group itself.
package recovery

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/checkpoint"
	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/sys"
)

// Result tells what was recovered.
type Result struct {
	checkpoint.Position
	Path string
	Rows uint64
	// HashMissing tells that the snapshot has no sidecar with its hash: worth a warning, not damage.
	HashMissing bool
}

// Progress is told of rows read so far and of bytes read and to read.
type Progress func(rows uint64, bytes, bytesTotal int64)

const (
	snapshotBlockMax = 256 << 20
	sumBytesMax      = 256
	progressEvery    = 50_000
)

// ErrNoSnapshot means that the directory holds no finished snapshot.
var ErrNoSnapshot = errors.New("no snapshot")

// Load reads the snapshot at the given signature into a fresh engine and publishes it as the version of its position.
func Load(engine *box.Engine, fsys sys.FS, dir string, signature uint64, progress Progress) (Result, error) {
	path := dir + "/" + checkpoint.Name(signature)
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return Result{}, fmt.Errorf("recovery: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Result{}, fmt.Errorf("recovery: %w", err)
	}
	digest := sha256.New()
	counter := &countingReader{r: io.TeeReader(f, digest)}
	res, err := load(engine, bufio.NewReaderSize(counter, 1<<20), func(rows uint64) {
		if progress != nil {
			progress(rows, counter.bytes, st.Size())
		}
	})
	if err != nil {
		return Result{}, fmt.Errorf("recovery: %s: %w", path, err)
	}
	if _, err := io.Copy(io.Discard, counter); err != nil {
		return Result{}, fmt.Errorf("recovery: %s: %w", path, err)
	}
	res.Path = path
	res.HashMissing, err = checkSum(fsys, dir, signature, digest.Sum(nil))
	return res, err
}

type countingReader struct {
	r     io.Reader
	bytes int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.bytes += int64(n)
	return n, err
}

func load(engine *box.Engine, r io.Reader, progress func(rows uint64)) (Result, error) {
	sr, err := snap.NewReader(r, snap.Limits{BlockBytesMax: snapshotBlockMax})
	if err != nil {
		return Result{}, err
	}
	res := Result{}
	if res.Position, err = position(sr.Meta()); err != nil {
		return Result{}, err
	}
	engine.Begin(res.Index)
	engine.LoadLocalRows(res.Local)
	for {
		row, err := sr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Result{}, err
		}
		if row.Type != snap.TypeInsert {
			return Result{}, fmt.Errorf("row %d has type %d: this is no snapshot of this program", res.Rows, row.Type)
		}
		if err := engine.Load(row.SpaceID, row.Tuple); err != nil {
			return Result{}, err
		}
		if res.Rows++; res.Rows%progressEvery == 0 {
			progress(res.Rows)
		}
	}
	if err := engine.LoadBuiltin(); err != nil {
		return Result{}, err
	}
	engine.Seal()
	engine.Publish(res.Index)
	return res, nil
}

func position(m snap.Meta) (checkpoint.Position, error) {
	var p checkpoint.Position
	var err error
	if m.Extra[checkpoint.KeyFormat] == "" {
		return p, errors.New("this snapshot was not written by lycosa; use `lycosa import`")
	}
	if p.Index, err = strconv.ParseUint(m.Extra[checkpoint.KeyIndex], 10, 64); err != nil || p.Index == 0 {
		return p, fmt.Errorf("bad header key %s", checkpoint.KeyIndex)
	}
	if p.Term, err = strconv.ParseUint(m.Extra[checkpoint.KeyTerm], 10, 64); err != nil {
		return p, fmt.Errorf("bad header key %s", checkpoint.KeyTerm)
	}
	p.Local = m.VClock[0]
	for _, s := range strings.Split(m.Extra[checkpoint.KeyVoters], ",") {
		id, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return p, fmt.Errorf("bad header key %s", checkpoint.KeyVoters)
		}
		p.Voters = append(p.Voters, id)
	}
	return p, nil
}

// checkSum compares the hash of the whole file with its sidecar.
func checkSum(fsys sys.FS, dir string, signature uint64, sum []byte) (missing bool, err error) {
	name := dir + "/" + checkpoint.Name(signature) + ".sha256"
	text, err := sys.ReadFile(fsys, name, sumBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("recovery: %w", err)
	}
	fields := bytes.Fields(text)
	if len(fields) != 3 || string(fields[0]) != "1" {
		return true, nil
	}
	if want, err := hex.DecodeString(string(fields[2])); err != nil || !bytes.Equal(want, sum) {
		return false, fmt.Errorf("recovery: %s: the file's hash is not the one in its sidecar: the file is damaged",
			checkpoint.Name(signature))
	}
	return false, nil
}
