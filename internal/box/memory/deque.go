package memory

const dequeChunk = 1024

// deque is a queue in chunks, open at both ends for taking, at the back for adding. Growth never copies entries, and
// a steady flow allocates nothing.
type deque[T any] struct {
	chunks []*[dequeChunk]T
	head   int // entries of the first chunk that are gone
	n      int
	spare  *[dequeChunk]T
}

func (d *deque[T]) len() int { return d.n }

func (d *deque[T]) at(i int) *T {
	i += d.head
	return &d.chunks[i/dequeChunk][i%dequeChunk]
}

func (d *deque[T]) front() *T { return d.at(0) }
func (d *deque[T]) back() *T  { return d.at(d.n - 1) }

func (d *deque[T]) pushBack(v T) {
	i := d.head + d.n
	if i == len(d.chunks)*dequeChunk {
		c := d.spare
		if d.spare = nil; c == nil {
			c = new([dequeChunk]T)
		}
		d.chunks = append(d.chunks, c)
	}
	d.chunks[i/dequeChunk][i%dequeChunk] = v
	d.n++
}

func (d *deque[T]) popBack() T {
	var zero T
	p := d.back()
	v := *p
	*p = zero
	d.n--
	if keep := (d.head + d.n + dequeChunk - 1) / dequeChunk; keep < len(d.chunks)-1 {
		d.dropChunks(keep, len(d.chunks))
	}
	return v
}

func (d *deque[T]) popFront() T {
	var zero T
	p := d.front()
	v := *p
	*p = zero
	d.dropFront(1)
	return v
}

// dropFront forgets the first n entries.
func (d *deque[T]) dropFront(n int) {
	d.head += n
	d.n -= n
	if full := d.head / dequeChunk; full > 0 {
		d.dropChunks(0, full)
		d.head %= dequeChunk
	}
}

func (d *deque[T]) dropChunks(from, to int) {
	d.spare = d.chunks[from]
	keep := append(d.chunks[:from], d.chunks[to:]...)
	clear(d.chunks[len(keep):])
	d.chunks = keep
}
