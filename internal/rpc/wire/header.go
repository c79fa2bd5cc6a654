package wire

import (
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Header begins every message that changes something: who speaks, for which cluster, and how far he is. A receiver calls
// Check before it does anything else.
type Header struct {
	// ClusterUUID and Epoch name the cluster. The epoch grows when a cluster that has lost its majority is made anew from a
	// survivor; what still lives in an older one is refused for ever.
	ClusterUUID string
	Epoch       uint64
	// From is the sender's instance uuid, RaftID its id in the catalog's group, Address where it is reached.
	From   string
	RaftID uint64
	// Term and Applied are the sender's in the catalog's group.
	Term, Applied uint64
	Address       string
	// Incarnation is another one in each process of an instance. Quota and Used are the memory of its database, in bytes.
	Incarnation, Quota, Used uint64
}

// headerFields is the number of fields of a Header that this version knows.
const headerFields = 10

// Check decides whether a message with this header is for the cluster that the receiver belongs to. Errors: 10024 the
// receiver belongs to none yet (its uuid is empty), 12030 other cluster, 12031 the sender's epoch is over, 12033 the
// receiver's is.
func (h Header) Check(ownClusterUUID string, ownEpoch uint64) error {
	switch {
	case ownClusterUUID == "":
		return errcode.New(errcode.Uninitialized)
	case h.ClusterUUID != ownClusterUUID:
		return errcode.New(errcode.ClusterUUIDMismatch, h.ClusterUUID, ownClusterUUID)
	case h.Epoch < ownEpoch:
		return errcode.New(errcode.EpochMismatch, h.Epoch, ownEpoch)
	case h.Epoch > ownEpoch:
		return errcode.New(errcode.EpochOver, ownEpoch, h.Epoch)
	}
	return nil
}

func (h Header) append(dst []byte) []byte { return h.appendWith(dst, 0) }

// appendWith appends the header as an array to which so many fields are still to be added.
func (h Header) appendWith(dst []byte, more int) []byte {
	dst = msgpack.AppendArrayHeader(dst, headerFields+more)
	dst = msgpack.AppendUint(msgpack.AppendStr(dst, h.ClusterUUID), h.Epoch)
	dst = msgpack.AppendUint(msgpack.AppendStr(dst, h.From), h.RaftID)
	dst = msgpack.AppendUint(msgpack.AppendUint(dst, h.Term), h.Applied)
	dst = msgpack.AppendUint(msgpack.AppendStr(dst, h.Address), h.Incarnation)
	return msgpack.AppendUint(msgpack.AppendUint(dst, h.Quota), h.Used)
}

func (r *reader) header() Header {
	extra := r.fields(headerFields)
	h := r.headerBody()
	r.skip(extra)
	return h
}

func (r *reader) headerBody() Header {
	return Header{
		ClusterUUID: r.word(), Epoch: r.uint(), From: r.word(), RaftID: r.uint(), Term: r.uint(), Applied: r.uint(),
		Address: r.word(), Incarnation: r.uint(), Quota: r.uint(), Used: r.uint(),
	}
}

// Append appends a header that is a message by itself: the argument of ProcHello.
func (h Header) Append(dst []byte) []byte { return h.append(dst) }

// DecodeHeader reads a header that is a message by itself. Errors: 1.
func DecodeHeader(b []byte) (Header, error) {
	r := reader{b: b, message: "Hello"}
	h := r.header()
	if err := r.end(0); err != nil {
		return Header{}, err
	}
	return h, nil
}

// HelloAnswer is the answer of ProcHello: who was greeted, and whom he knows.
type HelloAnswer struct {
	Header
	// Known are the addresses that the answering instance has of members, by their ids in the catalog's group: what they told
	// him since they were started, else what his catalog says. At most MembersMax.
	Known map[uint64]string
}

// Append appends the answer: a header with one more field, which versions that do not know it pass over.
func (a HelloAnswer) Append(dst []byte) []byte {
	dst = a.appendWith(dst, 1)
	dst = msgpack.AppendArrayHeader(dst, 2*min(len(a.Known), MembersMax))
	left := MembersMax
	for id, address := range a.Known {
		if left--; left < 0 {
			break
		}
		dst = msgpack.AppendStr(msgpack.AppendUint(dst, id), address)
	}
	return dst
}

// DecodeHelloAnswer reads the answer; that of an older version knows nobody. Errors: 1.
func DecodeHelloAnswer(b []byte) (HelloAnswer, error) {
	r := reader{b: b, message: "Hello"}
	extra := r.fields(headerFields)
	a := HelloAnswer{Header: r.headerBody()}
	if extra > 0 {
		extra--
		n := r.list(2 * MembersMax)
		a.Known = make(map[uint64]string, n/2)
		for ; n >= 2 && r.ok(); n -= 2 {
			id := r.uint()
			a.Known[id] = r.word()
		}
		r.skip(n)
	}
	if err := r.end(extra); err != nil {
		return HelloAnswer{}, err
	}
	return a, nil
}
