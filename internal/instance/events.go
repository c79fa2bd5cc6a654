package instance

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// The keys that clients can watch. Those of Tarantool have its meaning and its fields.
const (
	keyShutdown = "box.shutdown" // true when the instance is being stopped
	keyStatus   = "box.status"   // {is_ro, is_ro_cfg, status, dd_version}
	keyID       = "box.id"       // {id, instance_uuid, replicaset_uuid}
	keySchema   = "box.schema"   // {version}
	keyState    = "lycosa.state" // {stage, state, prev, since, cause}
)

// clusterID is the instance's number in space _cluster.
const clusterID = 1

// openKeys are those that may be watched without a login: they tell no more than the greeting and the errors do.
// lycosa.state is not among them, since causes name files and parameters.
var openKeys = []string{keyShutdown, keyStatus, keyID, keySchema}

// events keeps the values of the watched keys in step with the instance.
type events struct {
	// wake has a token while something may have changed since the values were last made.
	wake chan struct{}
	// leader is the raft id of the data group's leader, 0 if there is none.
	leader atomic.Uint64

	stop sync.Once
	// leaveBy is until when clients that watch keyShutdown may stay, once stop was done.
	leaveBy time.Time
}

func newEvents() *events { return &events{wake: make(chan struct{}, 1)} }

// Emit takes what happens to the instance; it never blocks.
func (e *events) Emit(ev event.Event) {
	switch ev := ev.(type) {
	case event.LeaderChanged:
		if ev.Group != dataName {
			return
		}
		e.leader.Store(ev.Leader)
	case event.StateChanged:
	default:
		return
	}
	e.changed()
}

// changed asks for a new look at the values. For any goroutine; it never blocks.
func (e *events) changed() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// broadcastChanges makes the values, again whenever something has changed, and broadcasts those that differ.
func (i *Instance) broadcastChanges() {
	i.server.Broadcast(keyShutdown, msgpack.AppendBool(nil, false))
	last := map[string][]byte{}
	for {
		for _, v := range differing(last, i.watchedState().values()) {
			i.server.Broadcast(v.key, v.value)
		}
		<-i.events.wake
	}
}

// watchedState is what the values of the watched keys are made of.
type watchedState struct {
	published lifecycle.Published
	// identity is nil until there is one; leader is the raft id of the data group's leader, 0 for none.
	identity *datadir.Identity
	leader   uint64
	// schema is the version of the published schema, 0 until there is a database.
	schema uint64
}

func (i *Instance) watchedState() watchedState {
	w := watchedState{published: i.life.published(), identity: i.identity.Load(), leader: i.events.leader.Load()}
	if c := i.core.Load(); c != nil {
		w.schema = c.engine.PublishedSchema().Version
	}
	return w
}

// keyed is the value of a watched key, nil for none.
type keyed struct {
	key   string
	value []byte
}

// values are those of all keys but keyShutdown, in the order in which changes are told.
func (w watchedState) values() []keyed {
	return []keyed{{keyState, stateValue(w.published)}, {keyStatus, w.statusValue()}, {keyID, w.idValue()}, {keySchema, w.schemaValue()}}
}

// differing returns the values that are not the last ones, and makes them the last.
func differing(last map[string][]byte, values []keyed) (changed []keyed) {
	for _, v := range values {
		if !bytes.Equal(last[v.key], v.value) {
			last[v.key] = v.value
			changed = append(changed, v)
		}
	}
	return changed
}

func (w watchedState) statusValue() []byte {
	status := "loading"
	if w.published.State.ServesData() {
		status = "running"
	}
	b := msgpack.AppendMapHeader(nil, 4)
	b = msgpack.AppendBool(msgpack.AppendStr(b, "is_ro"), w.identity == nil || w.leader != w.identity.DataRaftID)
	b = msgpack.AppendBool(msgpack.AppendStr(b, "is_ro_cfg"), false)
	b = appendPair(b, "status", status)
	return appendPair(b, "dd_version",
		fmt.Sprintf("%d.%d.%d", dictionary.VersionMajor, dictionary.VersionMinor, dictionary.VersionPatch))
}

func (w watchedState) idValue() []byte {
	if w.identity == nil {
		return nil
	}
	b := msgpack.AppendMapHeader(nil, 3)
	b = msgpack.AppendUint(msgpack.AppendStr(b, "id"), clusterID)
	b = appendPair(b, "instance_uuid", w.identity.InstanceUUID)
	return appendPair(b, "replicaset_uuid", w.identity.ReplicasetUUID)
}

func (w watchedState) schemaValue() []byte {
	if w.schema == 0 {
		return nil
	}
	return msgpack.AppendUint(msgpack.AppendStr(msgpack.AppendMapHeader(nil, 1), "version"), w.schema)
}

// stateValue shows the state as the HTTP documents do: the time in RFC 3339, the cause nil if there is none.
func stateValue(p lifecycle.Published) []byte {
	b := msgpack.AppendMapHeader(nil, 5)
	b = appendPair(b, "stage", p.Stage.String())
	b = appendPair(b, "state", p.State.String())
	b = appendPair(b, "prev", p.Prev.String())
	b = appendPair(b, "since", p.Since.UTC().Format(time.RFC3339Nano))
	b = msgpack.AppendStr(b, "cause")
	if p.Cause == nil {
		return msgpack.AppendNil(b)
	}
	b = msgpack.AppendMapHeader(b, 3)
	b = msgpack.AppendUint(msgpack.AppendStr(b, "code"), uint64(p.Cause.Code))
	b = appendPair(b, "message", p.Cause.Message)
	if p.Cause.Field == "" {
		return msgpack.AppendNil(msgpack.AppendStr(b, "field"))
	}
	return appendPair(b, "field", p.Cause.Field)
}

func appendPair(b []byte, key, value string) []byte {
	return msgpack.AppendStr(msgpack.AppendStr(b, key), value)
}

// announceStop tells clients that the instance is going and takes no new ones. Those that watch for it may stay until the
// shutdown timeout, counted from here.
func (i *Instance) announceStop() {
	i.events.stop.Do(func() {
		i.events.leaveBy = time.Now().Add(i.cfg.ShutdownTimeout)
		i.server.StopAccepting()
		i.server.Broadcast(keyShutdown, msgpack.AppendBool(nil, true))
	})
}

// dismiss waits, if the instance was asked to stop, until the clients that watch for it have gone.
func (i *Instance) dismiss() {
	select {
	case <-i.child.Stop():
	default:
		return // the process ends for a reason of its own
	}
	i.announceStop()
	ctx, cancel := context.WithDeadline(context.Background(), i.events.leaveBy)
	defer cancel()
	if err := i.server.AwaitUnwatched(ctx, keyShutdown); err != nil {
		i.log.Warn("clients that were asked to leave are still there", "clients", i.server.Watched(keyShutdown))
	}
}
