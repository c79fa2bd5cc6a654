// Package iproto is the codec of Tarantool's binary protocol: greeting, frames, request headers and bodies, replies
// and error replies, and the arithmetic of chap-sha1. Pure. Connections, limits and who may do what are decided by
// packages iproto/server and access; what a request does is decided by the server's backend.
package iproto

import "strconv"

// Type is the type of a request (header key 0x00 of a request) as Tarantool numbers them.
type Type = uint32

// The request types, and the codes of replies that are not errors.
const (
	TypeOK            Type = 0
	TypeSelect        Type = 1
	TypeInsert        Type = 2
	TypeReplace       Type = 3
	TypeUpdate        Type = 4
	TypeDelete        Type = 5
	TypeCall16        Type = 6
	TypeAuth          Type = 7
	TypeEval          Type = 8
	TypeUpsert        Type = 9
	TypeCall          Type = 10
	TypeExecute       Type = 11
	TypeNop           Type = 12
	TypePrepare       Type = 13
	TypeBegin         Type = 14
	TypeCommit        Type = 15
	TypeRollback      Type = 16
	TypePing          Type = 64
	TypeJoin          Type = 65
	TypeSubscribe     Type = 66
	TypeVote          Type = 68
	TypeFetchSnapshot Type = 69
	TypeRegister      Type = 70
	TypeID            Type = 73
	TypeWatch         Type = 74
	TypeUnwatch       Type = 75
	TypeEvent         Type = 76
	TypeWatchOnce     Type = 77

	// TypeChunk is the code of a reply that is not the last one of its request.
	TypeChunk Type = 128
	// TypeError is the bit that marks the code of an error reply; the lower bits are the number of the error.
	TypeError Type = 0x8000
)

var typeNames = map[Type]string{
	TypeSelect: "SELECT", TypeInsert: "INSERT", TypeReplace: "REPLACE", TypeUpdate: "UPDATE", TypeDelete: "DELETE",
	TypeCall16: "CALL_16", TypeAuth: "AUTH", TypeEval: "EVAL", TypeUpsert: "UPSERT", TypeCall: "CALL",
	TypeExecute: "EXECUTE", TypeNop: "NOP", TypePrepare: "PREPARE", TypeBegin: "BEGIN", TypeCommit: "COMMIT",
	TypeRollback: "ROLLBACK", TypePing: "PING", TypeJoin: "JOIN", TypeSubscribe: "SUBSCRIBE", TypeVote: "VOTE",
	TypeFetchSnapshot: "FETCH_SNAPSHOT", TypeRegister: "REGISTER", TypeID: "ID", TypeWatch: "WATCH",
	TypeUnwatch: "UNWATCH", TypeEvent: "EVENT", TypeWatchOnce: "WATCH_ONCE",
}

// TypeName returns the upper case name of a request type, as box.stat shows it, or its number.
func TypeName(t Type) string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	return strconv.FormatUint(uint64(t), 10)
}

// InStream reports whether requests of a type may carry a stream id.
func InStream(t Type) bool { return t <= 18 && t != TypeAuth || t == TypePing }

// Feature is an optional part of the protocol, as Tarantool numbers them in requests and replies of type ID.
type Feature = uint64

// The features that a server or a client may announce.
const (
	FeatureStreams        Feature = 0
	FeatureTransactions   Feature = 1
	FeatureErrorExtension Feature = 2
	FeatureWatchers       Feature = 3
	FeaturePagination     Feature = 4
	FeatureNames          Feature = 5
	FeatureWatchOnce      Feature = 6
)

// Key is a key of a header or body map.
type Key uint8

// The keys of headers and bodies that this package reads or writes.
const (
	KeyType          Key = 0x00
	KeySync          Key = 0x01
	KeySchemaVersion Key = 0x05
	KeyStreamID      Key = 0x0a
	KeySpaceID       Key = 0x10
	KeyIndexID       Key = 0x11
	KeyLimit         Key = 0x12
	KeyOffset        Key = 0x13
	KeyIterator      Key = 0x14
	KeyIndexBase     Key = 0x15
	KeyFetchPosition Key = 0x1f
	KeyKey           Key = 0x20
	KeyTuple         Key = 0x21
	KeyFunction      Key = 0x22
	KeyUser          Key = 0x23
	KeyExpr          Key = 0x27
	KeyOps           Key = 0x28
	KeyOptions       Key = 0x2b
	KeyAfterPosition Key = 0x2e
	KeyAfterTuple    Key = 0x2f
	KeyData          Key = 0x30
	KeyError24       Key = 0x31
	KeyPosition      Key = 0x35
	KeySQLText       Key = 0x40
	KeySQLBind       Key = 0x41
	KeyStatementID   Key = 0x43
	KeyError         Key = 0x52
	KeyVersion       Key = 0x54
	KeyFeatures      Key = 0x55
	KeyTimeout       Key = 0x56
	KeyEventKey      Key = 0x57
	KeyEventData     Key = 0x58
	KeyTxnIsolation  Key = 0x59
	KeyAuthType      Key = 0x5b
	KeySpaceName     Key = 0x5e
	KeyIndexName     Key = 0x5f
)

// The iterators of SELECT (body key 0x14).
const (
	IterEQ uint32 = iota
	IterREQ
	IterALL
	IterLT
	IterLE
	IterGE
	IterGT
)

// The limits of the wire format itself; a server's own limits are lower.
const (
	// FrameBytesMax is the size from which on the length of a frame is no length (2 GiB, as in Tarantool).
	FrameBytesMax = 1 << 31
	// GreetingBytes is the length of the greeting.
	GreetingBytes = 128
	// ScrambleBytes is the length of a chap-sha1 scramble and of a stored password hash.
	ScrambleBytes = 20
	// SaltBytes is the length of the salt in the greeting; chap-sha1 uses its first ScrambleBytes.
	SaltBytes = 32
	// AuthChapSHA1 is the name of the only authentication method that is served.
	AuthChapSHA1 = "chap-sha1"
)
