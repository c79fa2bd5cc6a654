package wire

import "github.com/lycosadb/lycosa/internal/msgpack"

// Promote asks that an instance becomes the leader of its replicaset.
type Promote struct {
	// Header is the zero one if an operator asks.
	Header Header
	// Name of the instance.
	Name string
}

// AbortDDL asks that the change of the schema that is under way is taken back.
type AbortDDL struct {
	// Version of the change.
	Version uint64
}

// BootstrapWithout asks an instance that is looking for its cluster to conclude without a peer that will never come. It is
// asked by an operator of one instance, and passed on to nobody.
type BootstrapWithout struct {
	// Peer is the address of the one to go without, as the list of peers has it.
	Peer string
}

// The numbers of fields that this version knows.
const (
	promoteFields = 2
	abortFields   = 1
	withoutFields = 1
)

// Append appends the message to dst.
func (m Promote) Append(dst []byte) []byte {
	return msgpack.AppendStr(m.Header.append(msgpack.AppendArrayHeader(dst, promoteFields)), m.Name)
}

// DecodePromote reads a message. Errors: 1.
func DecodePromote(b []byte) (Promote, error) {
	r := reader{b: b, message: "Promote"}
	extra := r.fields(promoteFields)
	m := Promote{Header: r.header(), Name: r.word()}
	if err := r.end(extra); err != nil {
		return Promote{}, err
	}
	return m, nil
}

// Append appends the message to dst.
func (m AbortDDL) Append(dst []byte) []byte {
	return msgpack.AppendUint(msgpack.AppendArrayHeader(dst, abortFields), m.Version)
}

// DecodeAbortDDL reads a message. Errors: 1.
func DecodeAbortDDL(b []byte) (AbortDDL, error) {
	r := reader{b: b, message: "AbortDDL"}
	extra := r.fields(abortFields)
	m := AbortDDL{Version: r.uint()}
	if err := r.end(extra); err != nil {
		return AbortDDL{}, err
	}
	return m, nil
}

// Append appends the message to dst.
func (m BootstrapWithout) Append(dst []byte) []byte {
	return msgpack.AppendStr(msgpack.AppendArrayHeader(dst, withoutFields), m.Peer)
}

// DecodeBootstrapWithout reads a message. Errors: 1.
func DecodeBootstrapWithout(b []byte) (BootstrapWithout, error) {
	r := reader{b: b, message: "BootstrapWithout"}
	extra := r.fields(withoutFields)
	m := BootstrapWithout{Peer: r.word()}
	if err := r.end(extra); err != nil {
		return BootstrapWithout{}, err
	}
	return m, nil
}
