// Package recovery fills an engine from a snapshot and from the entries of the log that follows it, which its caller
// reads. Effects: files, goroutines.
package recovery

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/checkpoint"
	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/sys"
)

// Loaded is an engine on its way: it has the rows of a snapshot, and nobody can read them before Finish.
type Loaded struct {
	checkpoint.Position
	Path string
	Rows uint64
	// HashMissing tells that the snapshot has no sidecar with its hash: worth a warning, not damage.
	HashMissing bool

	loader *box.Loader
}

// Finish makes everything visible as the version of the last entry that was replayed, or of the snapshot.
func (l *Loaded) Finish(version uint64) { l.loader.Finish(version) }

// Progress is told, now and then, of rows loaded so far, and of bytes read and to read.
type Progress func(rows uint64, bytes, bytesTotal int64)

const (
	snapshotBlockMax = 256 << 20
	sumBytesMax      = 256
	progressEvery    = 50_000
)

// ErrNoSnapshot means that the directory holds no finished snapshot.
var ErrNoSnapshot = errors.New("no snapshot")

// Load reads the snapshot at the given signature into a fresh engine. After an error the engine can only be closed.
func Load(engine *box.Engine, fsys sys.FS, dir string, signature uint64, progress Progress) (Loaded, error) {
	return loadFile(engine, fsys, dir, signature, progress, func(version uint64) (*box.Loader, error) {
		return engine.NewLoader(version), nil
	})
}

// Install reads the snapshot at the given signature into an engine that is in use, which becomes what the snapshot holds with
// Finish: see box.Engine.NewInstaller. It is called by the engine's writer. After an error the engine can only be closed.
func Install(engine *box.Engine, fsys sys.FS, dir string, signature uint64, progress Progress) (Loaded, error) {
	return loadFile(engine, fsys, dir, signature, progress, engine.NewInstaller)
}

// begin opens the version of a snapshot.
type begin func(version uint64) (*box.Loader, error)

func loadFile(engine *box.Engine, fsys sys.FS, dir string, signature uint64, progress Progress, open begin) (Loaded, error) {
	path := dir + "/" + checkpoint.Name(signature)
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return Loaded{}, fmt.Errorf("recovery: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Loaded{}, fmt.Errorf("recovery: %w", err)
	}
	digest := sha256.New()
	counter := &countingReader{r: io.TeeReader(f, digest)}
	res, err := load(engine, counter, open, func(rows uint64) {
		if progress != nil {
			progress(rows, counter.bytes.Load(), st.Size())
		}
	})
	if err != nil {
		return Loaded{}, fmt.Errorf("recovery: %s: %w", path, err)
	}
	if _, err := io.Copy(io.Discard, counter); err != nil {
		return Loaded{}, fmt.Errorf("recovery: %s: %w", path, err)
	}
	res.Path = path
	res.HashMissing, err = checkSum(fsys, dir, signature, digest.Sum(nil))
	return res, err
}

type countingReader struct {
	r     io.Reader
	bytes atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

func load(engine *box.Engine, r io.Reader, open begin, progress func(rows uint64)) (Loaded, error) {
	sr, err := snap.NewReader(r, snap.Limits{BlockBytesMax: snapshotBlockMax})
	if err != nil {
		return Loaded{}, err
	}
	res := Loaded{}
	if res.Position, err = checkpoint.PositionOf(sr.Meta()); err != nil {
		return Loaded{}, err
	}
	if res.loader, err = open(res.Index); err != nil {
		return Loaded{}, err
	}
	engine.LoadLocalRows(res.Local)
	p := start(sr, res.loader)
	defer p.stop()
	told := uint64(0)
	for b := p.next(); b != nil; b = p.next() {
		for i := range b.runs {
			if err := res.loader.Add(&b.runs[i]); err != nil {
				return Loaded{}, err
			}
		}
		if b.err != nil {
			return Loaded{}, b.err
		}
		if res.Rows += uint64(b.rows); res.Rows >= told+progressEvery {
			told = res.Rows
			progress(told)
		}
		p.done(b)
	}
	return res, res.loader.EndSnapshot()
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
