package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/lycosadb/lycosa/internal/box/checkpoint"
	"github.com/lycosadb/lycosa/internal/box/recovery"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/raftgroup/transfer"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
	"github.com/lycosadb/lycosa/internal/sys/real"
)

const (
	// fetchFile takes a snapshot on its way here, in the directory of its group.
	fetchFile = "/fetch.inprogress"
	// dataSnapshotBytesMax bounds a snapshot of the data that is brought here.
	dataSnapshotBytesMax = 1 << 44
	// servedFor is how long a snapshot is kept, and the log behind it, after another instance has last asked for a part of it.
	servedFor = time.Minute
)

// wish has a token while a replica of a group that this instance leads needs a newer snapshot than there is.
type wish chan struct{}

func (w wish) make() {
	select {
	case w <- struct{}{}:
	default:
	}
}

// served knows when parts of which snapshots, by index, were last given away. Any goroutine may ask.
type served struct {
	mu sync.Mutex // guards at
	at map[uint64]time.Duration
}

func (s *served) note(index uint64, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = map[uint64]time.Duration{}
	}
	maps.DeleteFunc(s.at, func(_ uint64, at time.Duration) bool { return now-at >= servedFor })
	s.at[index] = now
}

func (s *served) recently(index uint64, now time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.at[index]
	return ok && now-at < servedFor
}

// snapshotFile finds the file of the snapshot of a group at an index: what is announced to others, and what was brought here.
func (i *Instance) snapshotFile(group uint8, index uint64) (path string, signature uint64, err error) {
	none := errcode.New(errcode.IllegalParams, fmt.Sprintf("there is no snapshot of index %d", index))
	if group == wire.GroupCatalog {
		path = i.catalogSnapshotPath(index)
		if _, err := i.fs.Lstat(path); err != nil {
			return "", 0, none
		}
		return path, index, nil
	}
	dir := i.dir.Path + "/" + datadir.DataDir
	found, err := checkpoint.List(i.fs, dir)
	if err != nil {
		return "", 0, err
	}
	for _, signature := range found {
		if pos, err := checkpoint.ReadPosition(i.fs, dir, signature); err == nil && pos.Index == index {
			return dir + "/" + checkpoint.Name(signature), signature, nil
		}
	}
	return "", 0, none
}

// snapshotChunk reads a part of a snapshot for another instance: what follows offset, at most bytesMax bytes, and the length of
// the whole. The file stays for a while, so that the rest can be asked for.
func (i *Instance) snapshotChunk(c *core, group uint8, index, offset, bytesMax uint64) (data []byte, total uint64, err error) {
	path, _, err := i.snapshotFile(group, index)
	if err != nil {
		return nil, 0, err
	}
	c.servedOf(group).note(index, i.clock.Boot())
	f, err := i.fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("snapshot for another instance: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("snapshot for another instance: %w", err)
	}
	total = uint64(st.Size())
	if offset >= total || bytesMax == 0 {
		return nil, 0, errcode.New(errcode.IllegalParams, fmt.Sprintf("byte %d of a snapshot of %d", offset, total))
	}
	data = make([]byte, min(bytesMax, wire.SnapshotPartBytesMax, total-offset))
	if _, err := f.ReadAt(data, int64(offset)); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, fmt.Errorf("snapshot for another instance: %w", err)
	}
	return data, total, nil
}

func (c *core) servedOf(group uint8) *served {
	if group == wire.GroupCatalog {
		return &c.catalogServed
	}
	return &c.dataServed
}

// answerSnapshotChunk gives another instance a part of a snapshot.
func (i *Instance) answerSnapshotChunk(_ context.Context, message []byte) ([]byte, error) {
	m, err := wire.DecodeSnapshotChunk(message)
	if err != nil {
		return nil, err
	}
	c, err := i.admit(m.Header)
	if err != nil {
		return nil, err
	}
	if err := i.checkSnapshotTerm(m); err != nil {
		return nil, err
	}
	data, total, err := i.snapshotChunk(c, m.Group, m.Index, m.Offset, m.Max)
	if err != nil {
		return nil, err
	}
	return wire.SnapshotPart{Total: total, Data: data}.Append(nil), nil
}

// checkSnapshotTerm refuses to give away a snapshot of the data that is not of the term that was announced. Who asks for one of
// the catalog finds the term in its content.
func (i *Instance) checkSnapshotTerm(m wire.SnapshotChunk) error {
	if m.Group == wire.GroupCatalog {
		return nil
	}
	_, signature, err := i.snapshotFile(m.Group, m.Index)
	if err != nil {
		return err
	}
	pos, err := checkpoint.ReadPosition(i.fs, i.dir.Path+"/"+datadir.DataDir, signature)
	if err == nil && pos.Term != m.Term {
		err = errcode.New(errcode.TermMismatch, m.Term, pos.Term)
	}
	return err
}

// askChunk asks the sender of a message for a part of the snapshot that it announces.
func (i *Instance) askChunk(ctx context.Context, c *core, group uint8, m raftgroup.Message, offset uint64) ([]byte, uint64, error) {
	address := c.book.of(group, m.From())
	if address == "" {
		return nil, 0, fmt.Errorf("the address of raft id %d is not known", m.From())
	}
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	p, _ := m.Snapshot()
	ask := wire.SnapshotChunk{Header: i.header(c), Group: group, Index: p.Index, Term: p.Term, Offset: offset,
		Max: c.catalog.View().Bytes(catalog.ConfSnapshotChunkMax)}
	answer, err := i.pool.Call(ctx, address, wire.ProcSnapshotChunk, ask.Append(nil))
	if err != nil {
		if e := (*errcode.Error)(nil); errors.As(err, &e) {
			err = fmt.Errorf("%w: %w", transfer.ErrRefused, err)
		}
		return nil, 0, err
	}
	part, err := wire.DecodeSnapshotPart(answer)
	return part.Data, part.Total, err
}

// newFetcher makes what brings the snapshots of a group here.
func (i *Instance) newFetcher(c *core, group uint8) *transfer.Fetcher {
	o := transfer.Options{
		FS: i.fs, Path: i.dir.Path + "/" + datadir.DataDir + fetchFile, BytesMax: dataSnapshotBytesMax,
		Chunk: func(ctx context.Context, m raftgroup.Message, offset uint64) ([]byte, uint64, error) {
			return i.askChunk(ctx, c, group, m, offset)
		},
		Have:     func(m raftgroup.Message) bool { return i.haveSnapshot(c, group, m) },
		Progress: i.fetchProgress(group),
		Accept:   func(m raftgroup.Message) error { return i.adoptData(c, m) },
		Done:     func(m raftgroup.Message, err error) { c.dataLoop.Fetched(m, err) },
	}
	if group == wire.GroupCatalog {
		o.Path, o.BytesMax = i.dir.Path+"/"+datadir.CatalogDir+fetchFile, catalog.SnapshotBytesMax+1<<10
		o.Accept = i.adoptCatalog
		o.Done = func(m raftgroup.Message, err error) { c.catalogLoop.Fetched(m, err) }
	}
	return transfer.New(o)
}

// fetchProgress shows how far a snapshot has come, in the instance's state while that is connecting, and in the log.
func (i *Instance) fetchProgress(group uint8) func(done, total uint64) {
	told, name := uint64(0), dataName
	if group == wire.GroupCatalog {
		name = catalogName
	}
	return func(done, total uint64) {
		if i.life.published().State == lifecycle.ConnectingFullmesh {
			i.life.progress(lifecycle.Progress{What: "snapshot bytes", Done: done, Total: total})
		}
		if tenth := 10 * done / total; tenth != told || done == total {
			told = tenth
			i.log.Info("fetching a snapshot", "group", name, "bytes", done, "of", total)
		}
	}
}

// haveSnapshot tells whether an earlier try has brought the content of a snapshot here, which was then not installed.
func (i *Instance) haveSnapshot(c *core, group uint8, m raftgroup.Message) bool {
	p, _ := m.Snapshot()
	if group == wire.GroupCatalog {
		s, err := i.readCatalogSnapshot(p.Index)
		return err == nil && standsFor(s, p) == nil
	}
	_, signature, err := i.snapshotFile(group, p.Index)
	if err != nil {
		return false
	}
	view := c.engine.OpenView()
	defer view.Close()
	pos, err := checkpoint.ReadPosition(i.fs, i.dir.Path+"/"+datadir.DataDir, signature)
	return err == nil && pos.Term == p.Term && signature == p.Index+view.LocalRows()
}

// adoptData makes the content that was brought here a snapshot of this instance.
func (i *Instance) adoptData(c *core, m raftgroup.Message) (err error) {
	c.checkpointing.Lock()
	defer c.checkpointing.Unlock()
	view := c.engine.OpenView()
	defer view.Close()
	p, _ := m.Snapshot()
	o := i.checkpointOptions()
	real.Background(func() {
		_, err = checkpoint.Adopt(view, o.Dir+fetchFile, checkpoint.Position{Index: p.Index, Term: p.Term, Voters: p.Voters,
			Learners: p.Learners, Outgoing: p.Outgoing, LearnersNext: p.LearnersNext}, o)
	})
	return err
}

// adoptCatalog checks the catalog that was brought here, and gives it its name.
func (i *Instance) adoptCatalog(m raftgroup.Message) error {
	dir := i.dir.Path + "/" + datadir.CatalogDir
	p, _ := m.Snapshot()
	s, err := i.decodeCatalogSnapshot(dir + fetchFile)
	if err == nil {
		err = standsFor(s, p)
	}
	if err != nil {
		return err
	}
	if err := i.fs.Rename(dir+fetchFile, i.catalogSnapshotPath(p.Index)); err != nil {
		return err
	}
	return i.fs.SyncDir(dir)
}

// standsFor tells whether a snapshot of the catalog is that of a position.
func standsFor(s catalog.Snapshot, p raftgroup.Position) error {
	if index, term := s.State.Position(); index != p.Index || term != p.Term {
		return fmt.Errorf("the snapshot stands for index %d of term %d, not for %d of %d", index, term, p.Index, p.Term)
	}
	return nil
}

func (i *Instance) readCatalogSnapshot(index uint64) (catalog.Snapshot, error) {
	return i.decodeCatalogSnapshot(i.catalogSnapshotPath(index))
}

// loadCatalog reads the catalog at a position, to be installed.
func (i *Instance) loadCatalog(p raftgroup.Position) (*catalog.State, error) {
	s, err := i.readCatalogSnapshot(p.Index)
	return s.State, err
}

// catalogInstalled follows a catalog of which any row may be another one.
func (i *Instance) catalogInstalled(c *core) func(*catalog.State) {
	return func(view *catalog.State) {
		c.rights.Store(rightsOf(view))
		c.book.refresh(view)
		i.checkRenewed(c, view)
	}
}

// installData makes the engine what the snapshot at a position holds.
func (i *Instance) installData(c *core) func(raftgroup.Position) error {
	return func(p raftgroup.Position) error {
		_, signature, err := i.snapshotFile(wire.GroupData, p.Index)
		if err != nil {
			return err
		}
		started := i.clock.Boot()
		res, err := recovery.Install(c.engine, i.fs, i.dir.Path+"/"+datadir.DataDir, signature, nil)
		if err != nil {
			return err
		}
		if res.Index != p.Index || res.Term != p.Term {
			return fmt.Errorf("%s stands for index %d of term %d, not for %d of %d", res.Path, res.Index, res.Term, p.Index, p.Term)
		}
		res.Finish(res.Index)
		c.snapshotRows.Store(res.Rows)
		i.log.Info("snapshot of another instance loaded", "file", res.Path, "rows", res.Rows, "seconds", (i.clock.Boot() - started).Seconds())
		return nil
	}
}

// prepareFetching makes what moves snapshots between instances, and removes what an earlier process has left of one.
func (i *Instance) prepareFetching(c *core) {
	c.catalogFetcher, c.dataFetcher = i.newFetcher(c, wire.GroupCatalog), i.newFetcher(c, wire.GroupData)
	c.catalogWish, c.dataWish = make(wish, 1), make(wish, 1)
	for _, dir := range []string{datadir.CatalogDir, datadir.DataDir} {
		if err := i.fs.Remove(i.dir.Path + "/" + dir + fetchFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			i.log.Warn("what is left of a snapshot that was not brought here can not be removed", "error", err)
		}
	}
}

// decodeCatalogSnapshot reads a file.
func (i *Instance) decodeCatalogSnapshot(path string) (catalog.Snapshot, error) {
	f, err := i.fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return catalog.Snapshot{}, err
	}
	defer f.Close()
	return catalog.DecodeSnapshot(f)
}
