package wal

// Room is how many bytes of records can be appended before the disk is asked for more: what is left of the segment or, if
// that is more, the segment prepared after it. After EnsureRoom without an error it is at least a quarter of a segment.
// It does not wait for an append that is under way.
func (l *Log) Room() int64 { return l.left.Load() }

// SegmentBytes is the size of a segment.
func (l *Log) SegmentBytes() int64 { return l.opts.SegmentBytes }

// noteRoom makes known how much room there is. wmu is held.
func (l *Log) noteRoom() {
	left := l.size - l.off
	if l.spare {
		left = max(left, l.opts.SegmentBytes-segmentHeaderBytes)
	}
	l.left.Store(left)
}
