package instance

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
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
	last := map[string][]byte{}
	i.server.Broadcast(keyShutdown, msgpack.AppendBool(nil, false))
	for {
		for key, value := range map[string][]byte{
			keyStatus: i.statusValue(), keyID: i.idValue(), keySchema: i.schemaValue(), keyState: stateValue(i.life.published()),
		} {
			if !bytes.Equal(last[key], value) {
				last[key] = value
				i.server.Broadcast(key, value)
			}
		}
		<-i.events.wake
	}
}

func (i *Instance) statusValue() []byte {
	status := "loading"
	if i.life.published().State.ServesData() {
		status = "running"
	}
	id, leader := i.identity.Load(), i.events.leader.Load()
	b := msgpack.AppendMapHeader(nil, 4)
	b = msgpack.AppendBool(msgpack.AppendStr(b, "is_ro"), id == nil || leader != id.DataRaftID)
	b = msgpack.AppendBool(msgpack.AppendStr(b, "is_ro_cfg"), false)
	b = appendPair(b, "status", status)
	return appendPair(b, "dd_version",
		fmt.Sprintf("%d.%d.%d", dictionary.VersionMajor, dictionary.VersionMinor, dictionary.VersionPatch))
}

// idValue is nil until the instance has an identity.
func (i *Instance) idValue() []byte {
	id := i.identity.Load()
	if id == nil {
		return nil
	}
	b := msgpack.AppendMapHeader(nil, 3)
	b = msgpack.AppendUint(msgpack.AppendStr(b, "id"), clusterID)
	b = appendPair(b, "instance_uuid", id.InstanceUUID)
	return appendPair(b, "replicaset_uuid", id.ReplicasetUUID)
}

// schemaValue is nil until there is a database.
func (i *Instance) schemaValue() []byte {
	c := i.core.Load()
	if c == nil {
		return nil
	}
	b := msgpack.AppendStr(msgpack.AppendMapHeader(nil, 1), "version")
	return msgpack.AppendUint(b, c.engine.PublishedSchema().Version)
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
