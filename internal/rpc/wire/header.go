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
}

// headerFields is the number of fields of a Header that this version knows.
const headerFields = 7

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

func (h Header) append(dst []byte) []byte {
	dst = msgpack.AppendArrayHeader(dst, headerFields)
	dst = msgpack.AppendUint(msgpack.AppendStr(dst, h.ClusterUUID), h.Epoch)
	dst = msgpack.AppendUint(msgpack.AppendStr(dst, h.From), h.RaftID)
	dst = msgpack.AppendUint(msgpack.AppendUint(dst, h.Term), h.Applied)
	return msgpack.AppendStr(dst, h.Address)
}

func (r *reader) header() Header {
	extra := r.fields(headerFields)
	h := Header{
		ClusterUUID: r.word(), Epoch: r.uint(), From: r.word(), RaftID: r.uint(), Term: r.uint(), Applied: r.uint(),
		Address: r.word(),
	}
	r.skip(extra)
	return h
}

// Append appends a header that is a message by itself: the argument and the answer of ProcHello.
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
