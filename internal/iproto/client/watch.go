package client

import (
	"context"

	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// watchSync is the sync of WATCH requests: events are told apart by their keys.
const watchSync = 0

// Watcher gets the values that the server broadcasts under one key: the one that is there, and from then on the newest
// one whenever it has changed. Values that change faster than Next is called are passed over.
type Watcher struct {
	c   *Client
	key string
	// ready has a token while there is a value that Next has not returned.
	ready chan struct{}
	// value is guarded by the client's mutex.
	value []byte
}

// Watch begins to watch a key. A client has one watcher for each key: a second one takes the place of the first.
func (c *Client) Watch(key string) (*Watcher, error) {
	w := &Watcher{c: c, key: key, ready: make(chan struct{}, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watchers == nil {
		c.watchers = make(map[string]*Watcher)
	}
	c.watchers[key] = w
	return w, c.post(iproto.TypeWatch, key)
}

// post queues a request that has no reply. mu is held.
func (c *Client) post(t iproto.Type, key string) error {
	if c.failed != nil {
		return &ConnError{Op: iproto.TypeName(t), Err: c.failed}
	}
	c.out = iproto.AppendWatch(c.out, t, watchSync, key)
	c.work.Signal()
	return nil
}

// Next waits for a value that was not returned yet. The value is encoded, nil if there is none.
func (w *Watcher) Next(ctx context.Context) ([]byte, error) {
	select {
	case <-w.ready:
	default:
		select {
		case <-w.ready:
		case <-w.c.ended:
			return nil, &ConnError{Op: "watch " + w.key, Err: w.c.Err()}
		case <-ctx.Done():
			return nil, &ConnError{Op: "watch " + w.key, Err: ctx.Err()}
		}
	}
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	value := w.value
	if w.c.failed == nil && w.c.watchers[w.key] == w {
		// Asking again says that the value was seen.
		if err := w.c.post(iproto.TypeWatch, w.key); err != nil {
			return nil, err
		}
	}
	return value, nil
}

// Close stops watching.
func (w *Watcher) Close() {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if w.c.watchers[w.key] != w {
		return
	}
	delete(w.c.watchers, w.key)
	if w.c.failed == nil {
		_ = w.c.post(iproto.TypeUnwatch, w.key)
	}
}

// event gives an event to its watcher. mu is held.
func (c *Client) event(r *iproto.Reply) {
	w := c.watchers[string(r.EventKey)]
	if w == nil {
		return
	}
	w.value = r.EventValue
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// WatchOnce returns the value of a key, nil if it has none.
func (c *Client) WatchOnce(ctx context.Context, key string) ([]byte, error) {
	data, err := c.data(ctx, iproto.TypeWatchOnce, func(dst []byte, sync uint64) []byte {
		return iproto.AppendWatch(dst, iproto.TypeWatchOnce, sync, key)
	})
	if err != nil {
		return nil, err
	}
	n, value, err := msgpack.ReadArrayLen(data)
	if err != nil || n == 0 {
		return nil, err
	}
	return value, nil
}

// SelectPage returns a page of the tuples that match, and the position at which it ends, nil if there are none: the
// After of the next page.
func (c *Client) SelectPage(ctx context.Context, a iproto.SelectArgs) (tuples, position []byte, err error) {
	a.FetchPosition = true
	r, err := c.call(ctx, iproto.TypeSelect, func(dst []byte, sync uint64) []byte {
		return iproto.AppendSelect(dst, sync, a)
	})
	if err != nil {
		return nil, nil, err
	}
	return r.Data, r.Position, nil
}
