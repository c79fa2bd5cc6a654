package fault

import (
	"fmt"
	"math/rand/v2"
)

// SectorBytes is what a disk writes in one piece.
const SectorBytes = 512

// Unsynced is one change that no sync has covered when the machine stops.
type Unsynced struct {
	Op Op
	// Seq grows with time. Last: it is the newest of all.
	Seq  int
	Last bool
	// Sectors is how many disk sectors a write touches; other changes happen whole, as one.
	Sectors int
}

// Policy decides what a crash leaves: whether a sector (0 for changes that happen whole) of an unsynced change is on disk.
type Policy func(u Unsynced, sector int) bool

// LoseUnsynced loses everything that was not synced.
func LoseUnsynced(Unsynced, int) bool { return false }

// KeepUnsynced keeps everything.
func KeepUnsynced(Unsynced, int) bool { return true }

// LoseDirs keeps the content of files and loses unsynced names.
func LoseDirs(u Unsynced, _ int) bool {
	return u.Op == OpWrite || u.Op == OpTruncate || u.Op == OpAllocate
}

// LoseData keeps names and loses unsynced content and sizes.
func LoseData(u Unsynced, s int) bool { return !LoseDirs(u, s) }

// TearLast keeps all but the newest change, of which only the first n sectors are kept.
func TearLast(n int) Policy {
	return func(u Unsynced, sector int) bool { return !u.Last || sector < n }
}

// TearLastTail keeps all but the newest change, of which the first n sectors are lost: disks reorder.
func TearLastTail(n int) Policy {
	return func(u Unsynced, sector int) bool { return !u.Last || sector >= n }
}

// Drop loses the one change with this Seq.
func Drop(seq int) Policy { return func(u Unsynced, _ int) bool { return u.Seq != seq } }

// Random keeps each sector with probability keep.
func Random(rng *rand.Rand, keep float64) Policy {
	return func(Unsynced, int) bool { return rng.Float64() < keep }
}

// CrashStates returns, by name, the policies for a crash now: everything unsynced lost or kept, names or contents lost, each
// change lost alone, the newest write torn at every sector from either side, and three random mixtures drawn from the seed.
func (f *FS) CrashStates(seed uint64) map[string]Policy {
	states := map[string]Policy{"lose": LoseUnsynced, "keep": KeepUnsynced, "lose names": LoseDirs, "lose data": LoseData}
	for _, u := range f.Unsynced() {
		states[fmt.Sprintf("drop %d", u.Seq)] = Drop(u.Seq)
		if !u.Last {
			continue
		}
		for n := range u.Sectors {
			states[fmt.Sprintf("tear %d", n)] = TearLast(n)
			states[fmt.Sprintf("tear tail %d", n)] = TearLastTail(n)
		}
	}
	for i := range uint64(3) {
		states[fmt.Sprintf("random %d", i)] = Random(rand.New(rand.NewPCG(seed, i)), 0.5)
	}
	return states
}

// Reboot is a loss of power followed by a new start: what was synced is there, of the rest what the policy leaves. Files
// open before are of no use any more, armed faults and crashes are gone.
func (f *FS) Reboot(policy Policy) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.volatile {
		panic("fault: Reboot of a volatile file system")
	}
	newest := f.newest(f.root)
	seen := map[*inode]*inode{}
	f.root = f.survive(f.root, policy, newest, seen)
	f.revive()
	f.used = usedBy(f.root)
}

// Kill is the end of a process: nothing is lost, open files are of no use any more, what is unsynced stays unsynced.
func (f *FS) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revive()
}

func (f *FS) revive() {
	f.gen++
	f.dead, f.crashAt, f.faults = false, 0, nil
}

// Unsynced lists what a crash could lose now, oldest first within each file or directory.
func (f *FS) Unsynced() []Unsynced {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Unsynced
	newest := f.newest(f.root)
	walk(f.root, map[*inode]bool{}, func(n *inode) {
		for _, m := range n.moves {
			out = append(out, Unsynced{Op: m.op, Seq: m.seq, Last: m.seq == newest, Sectors: 1})
		}
		for i := range n.pending {
			out = append(out, n.pending[i].unsynced(newest))
		}
	})
	return out
}

func (c *change) unsynced(newest int) Unsynced {
	u := Unsynced{Op: c.op, Seq: c.seq, Last: c.seq == newest, Sectors: 1}
	if c.op == OpWrite && len(c.data) > 0 {
		u.Sectors = int((c.off+int64(len(c.data))-1)/SectorBytes - c.off/SectorBytes + 1)
	}
	return u
}

func walk(n *inode, seen map[*inode]bool, fn func(*inode)) {
	if n == nil || seen[n] {
		return
	}
	seen[n] = true
	fn(n)
	for _, name := range sortedNames(n.names) {
		walk(n.names[name], seen, fn)
	}
	for _, name := range sortedNames(n.durable) {
		walk(n.durable[name], seen, fn)
	}
}

func (f *FS) newest(root *inode) (seq int) {
	walk(root, map[*inode]bool{}, func(n *inode) {
		for _, m := range n.moves {
			seq = max(seq, m.seq)
		}
		for _, c := range n.pending {
			seq = max(seq, c.seq)
		}
	})
	return seq
}

// survive builds what is on disk after the crash.
func (f *FS) survive(n *inode, policy Policy, newest int, seen map[*inode]*inode) *inode {
	if done := seen[n]; done != nil {
		return done
	}
	out := &inode{dir: n.dir, mode: n.mode, modified: n.modified}
	seen[n] = out
	if n.dir {
		left := make(map[string]*inode, len(n.durable))
		for name, child := range n.durable {
			left[name] = child
		}
		for _, m := range n.moves {
			if policy(Unsynced{Op: m.op, Seq: m.seq, Last: m.seq == newest, Sectors: 1}, 0) {
				applyMove(left, m)
			}
		}
		out.names, out.durable = map[string]*inode{}, map[string]*inode{}
		for _, name := range sortedNames(left) {
			child := f.survive(left[name], policy, newest, seen)
			out.names[name], out.durable[name] = child, child
		}
		return out
	}
	disk := append([]byte(nil), n.disk...)
	for i := range n.pending {
		disk = n.pending[i].surviving(disk, policy, newest)
	}
	out.mem, out.disk = disk, append([]byte(nil), disk...)
	return out
}

// surviving applies those sectors of a change that the policy leaves.
func (c *change) surviving(disk []byte, policy Policy, newest int) []byte {
	u := c.unsynced(newest)
	if c.op != OpWrite {
		if policy(u, 0) {
			return c.apply(disk)
		}
		return disk
	}
	first := c.off / SectorBytes
	for s := range u.Sectors {
		if !policy(u, s) {
			continue
		}
		from := max(c.off, (first+int64(s))*SectorBytes)
		to := min(c.off+int64(len(c.data)), (first+int64(s)+1)*SectorBytes)
		part := change{op: OpWrite, off: from, data: c.data[from-c.off : to-c.off]}
		disk = part.apply(disk)
	}
	return disk
}

func usedBy(root *inode) (n int64) {
	walk(root, map[*inode]bool{}, func(in *inode) { n += int64(len(in.mem)) })
	return n
}

// Clone copies the file system with all that is unsynced; files open before belong to the original.
func (f *FS) Clone() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := New()
	out.seq, out.ops, out.used, out.capacity, out.volatile = f.seq, f.ops, f.used, f.capacity, f.volatile
	out.root = cloneInode(f.root, map[*inode]*inode{})
	return out
}

func cloneInode(n *inode, seen map[*inode]*inode) *inode {
	if n == nil {
		return nil
	}
	if done := seen[n]; done != nil {
		return done
	}
	out := &inode{dir: n.dir, mode: n.mode, modified: n.modified}
	seen[n] = out
	out.mem, out.disk = append([]byte(nil), n.mem...), append([]byte(nil), n.disk...)
	out.pending = append([]change(nil), n.pending...)
	if n.dir {
		out.names, out.durable = map[string]*inode{}, map[string]*inode{}
	}
	for name, child := range n.names {
		out.names[name] = cloneInode(child, seen)
	}
	for name, child := range n.durable {
		out.durable[name] = cloneInode(child, seen)
	}
	for _, m := range n.moves {
		m.target = cloneInode(m.target, seen)
		out.moves = append(out.moves, m)
	}
	return out
}

// Corrupt flips the bits of mask in one byte of a file, on disk and in memory.
func (f *FS) Corrupt(name string, off int64, mask byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find("corrupt", name)
	if err != nil {
		return err
	}
	if off < 0 || off >= int64(len(n.mem)) {
		return fmt.Errorf("fault: corrupt %s at %d of %d bytes", name, off, len(n.mem))
	}
	n.mem[off] ^= mask
	if off < int64(len(n.disk)) {
		n.disk[off] ^= mask
	}
	return nil
}
