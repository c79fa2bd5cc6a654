package memory

// lineBytes is the size of a cache line of the processors that matter.
const lineBytes = 64

// PrefetchPage has the processor load the first n bytes of an index page while it goes on with other work. A hint: it
// changes nothing but time.
func (a *Arena) PrefetchPage(r Ref, n int) { prefetch(a.Page(r), uint64(n+lineBytes-1)/lineBytes) }

// PrefetchTuple is PrefetchPage for a tuple of about n bytes.
func (a *Arena) PrefetchTuple(r Ref, n int) { prefetch(a.at(r), uint64(n+tupleHeadBytes)/lineBytes+1) }
