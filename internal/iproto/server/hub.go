package server

// hub knows the values that were broadcast and who watches them. It does not lock and sends nothing: its methods return
// the watches that are to be told.
//
// A watch is told once and then waits until its subscriber asks again, which is how it says that it has seen the value.
// If the value has changed meanwhile, it is told at once, with the newest value: values in between are never seen.
type hub struct{ topics map[string]*topic }

// topic is a key with its value. It is kept while it has a value or is watched.
type topic struct {
	key string
	// value is encoded already and never changed in place; nil means that there is none. version counts its changes.
	value   []byte
	version uint64
	watches []*watch
}

// watch is one subscriber's interest in a topic.
type watch struct {
	topic *topic
	who   *Session
	// sync is that of the newest request.
	sync uint64
	// seen is the version that the subscriber was told; asked, that it waits for a newer one.
	seen  uint64
	asked bool
	at    int // the place in topic.watches
}

func newHub() hub { return hub{topics: make(map[string]*topic)} }

func (h *hub) topic(key string) *topic {
	t := h.topics[key]
	if t == nil {
		t = &topic{key: key}
		h.topics[key] = t
	}
	return t
}

// get returns the value of a key, nil if it has none.
func (h *hub) get(key string) []byte {
	if t := h.topics[key]; t != nil {
		return t.value
	}
	return nil
}

// set changes the value of a key, nil takes it away, and returns the watches that are to be told now.
func (h *hub) set(key string, value []byte) (tell []*watch) {
	t := h.topic(key)
	t.value = value
	t.version++
	for _, w := range t.watches {
		if w.asked {
			w.tell()
			tell = append(tell, w)
		}
	}
	h.drop(t)
	return tell
}

// tell notes that the subscriber is told the newest value.
func (w *watch) tell() { w.seen, w.asked = w.topic.version, false }

// watch adds a watch for who, whose watches are mine, or asks again for one that it has. The result is the watch if it
// is to be told now, else nil.
func (h *hub) watch(mine *[]*watch, who *Session, key string, sync uint64) *watch {
	w := find(*mine, key)
	if w == nil {
		t := h.topic(key)
		w = &watch{topic: t, who: who, sync: sync, at: len(t.watches)}
		t.watches = append(t.watches, w)
		*mine = append(*mine, w)
		w.tell()
		return w
	}
	w.sync = sync
	if w.seen == w.topic.version {
		w.asked = true
		return nil
	}
	w.tell()
	return w
}

// unwatch ends the watch for a key, if there is one.
func (h *hub) unwatch(mine *[]*watch, key string) {
	for i, w := range *mine {
		if w.topic.key == key {
			last := len(*mine) - 1
			(*mine)[i], (*mine)[last] = (*mine)[last], nil
			*mine = (*mine)[:last]
			h.remove(w)
			return
		}
	}
}

// leave ends all watches of a subscriber.
func (h *hub) leave(mine *[]*watch) {
	for _, w := range *mine {
		h.remove(w)
	}
	*mine = nil
}

// watched returns the number of watches for a key.
func (h *hub) watched(key string) int {
	if t := h.topics[key]; t != nil {
		return len(t.watches)
	}
	return 0
}

func (h *hub) remove(w *watch) {
	t := w.topic
	last := len(t.watches) - 1
	t.watches[w.at] = t.watches[last]
	t.watches[w.at].at = w.at
	t.watches[last] = nil
	t.watches = t.watches[:last]
	h.drop(t)
}

// drop forgets a topic that nobody needs. Its version is forgotten with it: no watch remembers it.
func (h *hub) drop(t *topic) {
	if t.value == nil && len(t.watches) == 0 {
		delete(h.topics, t.key)
	}
}

func find(list []*watch, key string) *watch {
	for _, w := range list {
		if w.topic.key == key {
			return w
		}
	}
	return nil
}
