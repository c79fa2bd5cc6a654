package runner

// roomMin is what a batch may add to an entry beyond twice what its requests say of their size, and recordBytes what an
// entry takes on disk beside its bytes, at most.
const (
	roomMin     = 64 << 10
	recordBytes = 1 << 10
)

// roomFor tells whether the log has room, without asking the disk for more, for what is on its way and for an entry of
// these requests. If it has not, room is asked for first: then nobody waits for an answer when there is none.
func (l *Loop[R]) roomFor(reqs []R) bool {
	need := int64(roomMin)
	if l.cfg.Bytes != nil {
		for _, r := range reqs {
			need += 2 * int64(l.cfg.Bytes(r))
		}
	}
	need = min(need, l.cfg.Log.SegmentBytes()/4)
	room := l.cfg.Log.Room()
	if room < need {
		l.tend()
		return false
	}
	onTheWay := l.pending.bytes + recordBytes*(len(l.pending.entries)-l.pending.head)
	return l.pending.empty() || room-int64(onTheWay) >= need
}
