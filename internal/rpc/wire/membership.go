package wire

import (
	"maps"
	"slices"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/discovery"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Expel asks that an instance leaves the cluster for good.
type Expel struct {
	// Header is the zero one if an operator asks; one instance that passes the wish on to another adds its own.
	Header Header
	// Name of the instance.
	Name string
	// Force: also where it may lose data or the majority.
	Force bool
}

// Replace asks that an instance that has lost its disk gets new raft ids, as Expel does.
type Replace struct {
	Header Header
	Name   string
	Force  bool
}

// The numbers of fields that this version knows.
const (
	discoverFields = 5
	answerFields   = 8
	joinFields     = 9
	joinedFields   = 13
	expelFields    = 3
)

// AppendDiscover appends the argument of ProcDiscover.
func AppendDiscover(dst []byte, m discovery.Request) []byte {
	dst = msgpack.AppendStr(msgpack.AppendArrayHeader(dst, discoverFields), m.ClusterName)
	dst = msgpack.AppendStr(msgpack.AppendUint(dst, m.Round), m.ID)
	return appendWords(msgpack.AppendBool(dst, m.CanBoot), m.Peers)
}

// DecodeDiscover reads the argument of ProcDiscover. What its words may be is checked by package discovery. Errors: 1.
func DecodeDiscover(b []byte) (discovery.Request, error) {
	r := reader{b: b, message: "Discover"}
	extra := r.fields(discoverFields)
	m := discovery.Request{ClusterName: r.word(), Round: r.uint(), ID: r.word(), CanBoot: r.bool(), Peers: r.words()}
	if err := r.end(extra); err != nil {
		return discovery.Request{}, err
	}
	return m, nil
}

// AppendDiscoverAnswer appends the answer of ProcDiscover.
func AppendDiscoverAnswer(dst []byte, m discovery.Answer) []byte {
	dst = msgpack.AppendUint(msgpack.AppendArrayHeader(dst, answerFields), uint64(m.Kind))
	dst = msgpack.AppendUint(msgpack.AppendStr(dst, m.ClusterName), m.Round)
	dst = msgpack.AppendBool(msgpack.AppendStr(dst, m.ID), m.CanBoot)
	dst = appendWords(dst, m.Peers)
	return msgpack.AppendStr(msgpack.AppendStr(dst, m.Leader), m.ClusterUUID)
}

// DecodeDiscoverAnswer reads the answer of ProcDiscover. A kind that is not known is kept, package discovery refuses it.
// Errors: 1.
func DecodeDiscoverAnswer(b []byte) (discovery.Answer, error) {
	r := reader{b: b, message: "answer to Discover"}
	extra := r.fields(answerFields)
	m := discovery.Answer{
		Kind: discovery.AnswerKind(r.uintMax(255)), ClusterName: r.word(), Round: r.uint(), ID: r.word(), CanBoot: r.bool(),
		Peers: r.words(), Leader: r.word(), ClusterUUID: r.word(),
	}
	if err := r.end(extra); err != nil {
		return discovery.Answer{}, err
	}
	return m, nil
}

// AppendJoin appends the argument of ProcJoin.
func AppendJoin(dst []byte, m catalog.JoinRequest) []byte {
	dst = msgpack.AppendArrayHeader(dst, joinFields)
	for _, w := range [...]string{m.ClusterName, m.InstanceUUID, m.InstanceName, m.Replicaset, m.Tier} {
		dst = msgpack.AppendStr(dst, w)
	}
	dst = msgpack.AppendMapHeader(dst, len(m.FailureDomain))
	for _, k := range slices.Sorted(maps.Keys(m.FailureDomain)) {
		dst = msgpack.AppendStr(msgpack.AppendStr(dst, k), m.FailureDomain[k])
	}
	dst = msgpack.AppendStr(msgpack.AppendStr(dst, m.Version), m.Address)
	return msgpack.AppendStr(dst, m.HTTPAddress)
}

// DecodeJoin reads the argument of ProcJoin. Errors: 1.
func DecodeJoin(b []byte) (catalog.JoinRequest, error) {
	r := reader{b: b, message: "Join"}
	extra := r.fields(joinFields)
	m := catalog.JoinRequest{
		ClusterName: r.word(), InstanceUUID: r.word(), InstanceName: r.word(), Replicaset: r.word(), Tier: r.word(),
		FailureDomain: r.domain(), Version: r.word(), Address: r.word(), HTTPAddress: r.word(),
	}
	if err := r.end(extra); err != nil {
		return catalog.JoinRequest{}, err
	}
	return m, nil
}

// AppendJoinAnswer appends the answer of ProcJoin.
func AppendJoinAnswer(dst []byte, m catalog.JoinAnswer) []byte {
	dst = msgpack.AppendArrayHeader(dst, joinedFields)
	for _, w := range [...]string{
		m.InstanceName, m.InstanceUUID, m.ReplicasetName, m.ReplicasetUUID, m.Tier, m.ClusterUUID, m.ClusterName,
	} {
		dst = msgpack.AppendStr(dst, w)
	}
	for _, v := range [...]uint64{m.Epoch, m.RaftID, m.DataRaftID, m.BootstrapRaftID} {
		dst = msgpack.AppendUint(dst, v)
	}
	return msgpack.AppendBin(msgpack.AppendStr(dst, m.Leader), m.Snapshot)
}

// DecodeJoinAnswer reads the answer of ProcJoin; Snapshot is a part of b. Errors: 1.
func DecodeJoinAnswer(b []byte) (catalog.JoinAnswer, error) {
	r := reader{b: b, message: "answer to Join"}
	extra := r.fields(joinedFields)
	m := catalog.JoinAnswer{
		InstanceName: r.word(), InstanceUUID: r.word(), ReplicasetName: r.word(), ReplicasetUUID: r.word(), Tier: r.word(),
		ClusterUUID: r.word(), ClusterName: r.word(), Epoch: r.uint(), RaftID: r.uint(), DataRaftID: r.uint(),
		BootstrapRaftID: r.uint(), Leader: r.word(), Snapshot: r.bin(catalog.SnapshotBytesMax + snapshotHeadBytesMax),
	}
	if err := r.end(extra); err != nil {
		return catalog.JoinAnswer{}, err
	}
	return m, nil
}

// snapshotHeadBytesMax is what a snapshot of the catalog may have beside its body.
const snapshotHeadBytesMax = 4096

// Append appends the message to dst.
func (m Expel) Append(dst []byte) []byte {
	dst = m.Header.append(msgpack.AppendArrayHeader(dst, expelFields))
	return msgpack.AppendBool(msgpack.AppendStr(dst, m.Name), m.Force)
}

// DecodeExpel reads a message. Errors: 1.
func DecodeExpel(b []byte) (Expel, error) {
	r := reader{b: b, message: "Expel"}
	return r.expel()
}

// Append appends the message to dst.
func (m Replace) Append(dst []byte) []byte { return Expel(m).Append(dst) }

// DecodeReplace reads a message. Errors: 1.
func DecodeReplace(b []byte) (Replace, error) {
	r := reader{b: b, message: "Replace"}
	m, err := r.expel()
	return Replace(m), err
}

func (r *reader) expel() (Expel, error) {
	extra := r.fields(expelFields)
	m := Expel{Header: r.header(), Name: r.word(), Force: r.bool()}
	if err := r.end(extra); err != nil {
		return Expel{}, err
	}
	return m, nil
}

func appendWords(dst []byte, words []string) []byte {
	dst = msgpack.AppendArrayHeader(dst, len(words))
	for _, w := range words {
		dst = msgpack.AppendStr(dst, w)
	}
	return dst
}

// words takes a list of addresses; an empty one is nil.
func (r *reader) words() []string {
	var words []string
	for range r.list(discovery.PeersMax) {
		if !r.ok() {
			return nil
		}
		words = append(words, r.word())
	}
	return words
}

// domain takes a failure domain; an empty one is nil. A key given twice is an error.
func (r *reader) domain() map[string]string {
	n, rest, err := msgpack.ReadMapLen(r.b)
	if err != nil || n > DomainsMax {
		r.fail("map of a failure domain")
		return nil
	}
	r.b = rest
	var domain map[string]string
	for range n {
		k, v := r.word(), r.word()
		if _, twice := domain[k]; twice {
			r.fail("map without a key given twice")
		}
		if !r.ok() {
			return nil
		}
		if domain == nil {
			domain = make(map[string]string)
		}
		domain[k] = v
	}
	return domain
}
