package instance

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"sort"

	"github.com/lycosadb/lycosa/internal/access"
	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/box/checkpoint"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/httpd"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/replicaset"
)

// The names of the procedures that instances and clients call.
const (
	procInstanceInfo = ".proc_instance_info"
	procRaftInfo     = ".proc_raft_info"
	procClusterInfo  = ".proc_cluster_info"
	procSnapshot     = "box.snapshot"
)

// functionUserInfo is the id of box.schema.user.info in the dictionary of Tarantool 2.6.
const functionUserInfo = 1

// firstProcedure is the id in _func of the first stored procedure of ours.
const firstProcedure = 100

// storedProcedures are listed in _func in this order.
var storedProcedures = []string{procInstanceInfo, procRaftInfo, procClusterInfo, procCAS, procReadIndex}

// procedureID returns the id of a stored procedure in _func.
func procedureID(name string) uint32 {
	for n, p := range storedProcedures {
		if p == name {
			return uint32(firstProcedure + n)
		}
	}
	return 0
}

// procedure is a built-in that CALL reaches. slow ones run on a goroutine of their own.
type procedure struct {
	slow bool
	run  func() ([]byte, error)
}

func (b *backend) procedures() map[string]procedure {
	document := func(make func() any) func() ([]byte, error) {
		return func() ([]byte, error) { return toMsgpack(make()) }
	}
	return map[string]procedure{
		procInstanceInfo: {run: func() ([]byte, error) { return b.i.instanceInfo(), nil }},
		procRaftInfo:     {run: document(func() any { return b.i.Instance().Groups })},
		procClusterInfo:  {run: b.i.clusterInfo},
		"box.info":       {run: document(func() any { return b.boxInfo() })},
		"box.stat":       {run: document(func() any { return b.boxStat() })},
		"box.slab.info":  {run: document(func() any { return b.slabInfo() })},
		procSnapshot:     {slow: true, run: b.snapshot},
	}
}

// call runs a built-in procedure. Who may not is told so before it is told whether there is such a procedure, as
// Tarantool does.
func (b *backend) call(s replicaset.Sink, user *box.User, req *iproto.Request, out []byte) ([]byte, bool) {
	name := string(req.Function)
	if run, ok := b.argued[name]; ok {
		kind, sync, args := req.Type, req.Sync, clone(req.Tuple)
		p := procedure{run: func() ([]byte, error) { return run(user, args) }}
		go func() { s.Complete(b.called(kind, sync, p, nil)) }()
		return out, false
	}
	if err := b.mayCall(user, name); err != nil {
		return iproto.AppendError(out, req.Sync, b.SchemaVersion(), errcode.Of(err)), true
	}
	p, ok := b.procs[name]
	if !ok {
		return iproto.AppendError(out, req.Sync, b.SchemaVersion(), errcode.New(errcode.NoSuchProc, name)), true
	}
	if !p.slow {
		return b.called(req.Type, req.Sync, p, out), true
	}
	kind, sync := req.Type, req.Sync
	go func() { s.Complete(b.called(kind, sync, p, nil)) }()
	return out, false
}

func (b *backend) called(kind iproto.Type, sync uint64, p procedure, out []byte) []byte {
	value, err := p.run()
	if err != nil {
		return iproto.AppendError(out, sync, b.SchemaVersion(), errcode.Of(err))
	}
	if kind == iproto.TypeCall16 {
		value = append(msgpack.AppendArrayHeader(nil, 1), value...)
	}
	return iproto.AppendData(out, sync, b.SchemaVersion(), value)
}

func (b *backend) mayCall(u *box.User, name string) error {
	if u.Rights.Check(u.ID, access.Execute, access.Universe, 0) {
		return nil
	}
	if id := procedureID(name); id != 0 && u.Rights.Check(u.ID, access.Execute, access.Function, id) {
		return nil
	}
	return errcode.NewAccessDenied("Execute", "function", name, u.Name)
}

// snapshot writes a checkpoint and tells where.
func (b *backend) snapshot() ([]byte, error) {
	started := b.i.clock.Boot()
	res, err := b.i.checkpoint(b.c)
	if errors.Is(err, checkpoint.ErrRunning) {
		return nil, errcode.New(errcode.CheckpointInProgress)
	}
	if err != nil {
		return nil, errcode.Newf(errcode.WALIO, "the snapshot was not written: %v", err)
	}
	return toMsgpack(map[string]any{"path": res.Path, "rows": res.Rows, "seconds": (b.i.clock.Boot() - started).Seconds()})
}

func (b *backend) boxInfo() map[string]any {
	view := b.c.engine.OpenView()
	defer view.Close()
	index, local := view.Version(), view.LocalRows()
	vclock := map[string]any{"1": index}
	if local > 0 {
		vclock["0"] = local
	}
	return map[string]any{
		"version": checkpoint.ServerVersion, "id": 1, "ro": b.c.dataLoop.Status().LeaderID != b.c.id.DataRaftID,
		"uuid": b.c.id.InstanceUUID, "pid": os.Getpid(), "cluster": map[string]any{"uuid": b.c.id.ReplicasetUUID},
		"vclock": vclock, "lsn": index, "signature": index + local, "status": "running",
		"uptime": b.i.uptime().Seconds(), "replication": map[string]any{}, "package": "Lycosa " + b.i.version,
	}
}

func (b *backend) boxStat() map[string]any {
	stats := map[string]any{}
	seconds := math.Max(b.i.uptime().Seconds(), 1)
	for name, total := range b.i.server.Stats().Requests {
		stats[name] = map[string]any{"total": total, "rps": uint64(float64(total) / seconds)}
	}
	return stats
}

func (b *backend) slabInfo() map[string]any {
	g := b.c.engine.Memory()
	ratio := func(part, whole uint64) float64 { return float64(part) / math.Max(float64(whole), 1) * 100 }
	return map[string]any{
		"items_size": g.TupleBytes, "items_used": g.TupleBytes, "items_used_ratio": ratio(g.TupleBytes, g.TupleBytes),
		"arena_size": g.UsedBytes, "arena_used": g.UsedBytes, "arena_used_ratio": ratio(g.UsedBytes, g.UsedBytes),
		"quota_size": g.QuotaBytes, "quota_used": g.UsedBytes, "quota_used_ratio": ratio(g.UsedBytes, g.QuotaBytes),
		"index_used": g.PageBytes, "retired": g.RetiredBytes,
	}
}

// instanceInfo is the document of /api/v1/instance as MessagePack.
func (i *Instance) instanceInfo() []byte {
	b, err := toMsgpack(i.Instance())
	if err != nil {
		return msgpack.AppendNil(nil)
	}
	return b
}

// clusterInfo is the document of /api/v1/cluster with that of /api/v1/governor in it, as MessagePack.
func (i *Instance) clusterInfo() ([]byte, error) {
	var doc struct {
		httpd.Cluster
		Governor *httpd.Governor `json:"governor"`
	}
	var known bool
	if doc.Cluster, known = i.Cluster(); !known {
		return nil, errcode.New(errcode.Uninitialized)
	}
	if governor, known := i.Governor(); known {
		doc.Governor = &governor
	}
	return toMsgpack(doc)
}

// toMsgpack encodes a value by way of its JSON form, so that documents look the same on every protocol.
func toMsgpack(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var plain any
	if err := json.Unmarshal(text, &plain); err != nil {
		return nil, err
	}
	return appendPlain(nil, plain), nil
}

func appendPlain(b []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return msgpack.AppendBool(b, v)
	case string:
		return msgpack.AppendStr(b, v)
	case float64:
		if v == math.Trunc(v) && v >= 0 && v < 1<<63 {
			return msgpack.AppendUint(b, uint64(v))
		}
		if v == math.Trunc(v) && v < 0 && v > -(1<<63) {
			return msgpack.AppendInt(b, int64(v))
		}
		return msgpack.AppendFloat64(b, v)
	case []any:
		b = msgpack.AppendArrayHeader(b, len(v))
		for _, x := range v {
			b = appendPlain(b, x)
		}
		return b
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		b = msgpack.AppendMapHeader(b, len(v))
		for _, k := range keys {
			b = appendPlain(msgpack.AppendStr(b, k), v[k])
		}
		return b
	}
	return msgpack.AppendNil(b)
}
