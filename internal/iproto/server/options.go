// Package server accepts connections of the binary protocol, decodes what comes in, answers what concerns the
// connection itself (greeting, ping, id, auth, watchers) and passes the rest to a backend. Effects: network, goroutines,
// clock, random salts. What a request does, and whether its user may do it, is decided by the backend.
package server

import (
	"log/slog"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
)

// Backend executes requests. Its methods are called on the goroutine of one connection, of many connections at a time.
type Backend interface {
	// Execute runs a decoded, complete request of one of the types SELECT, INSERT, REPLACE, UPDATE, DELETE, UPSERT,
	// CALL and CALL_16. With done = true the reply has been appended to out and res is the extended slice. With
	// done = false the backend has taken the request over: it has copied what it needs of req (whose bytes are reused
	// after the return), res is out unchanged, and it calls s.Complete with exactly one final reply later, also if the
	// session is closed by then. A SELECT outside of streams may also be put off: done = true, and res is out unchanged.
	Execute(s *Session, req *iproto.Request, out []byte) (res []byte, done bool)
	// Answer appends the replies of requests that were put off, in their order. It comes before anything else is appended
	// to out but what Execute appends, and before Flush. The bytes of these requests are still there.
	Answer(s *Session, out []byte) []byte
	// Flush ends a drain: requests of s that Execute gathered since the last Flush are to be handed over now. It comes
	// after every run of Execute calls, before the connection waits for anything.
	Flush(s *Session)
	// SchemaVersion is the version that replies carry.
	SchemaVersion() uint64
	// Credentials returns what AUTH needs about a user; ok is false if there is no such user (a role is none).
	Credentials(user string) (c Credential, ok bool)
	// Closed tells that no further request of s will come to this backend: the connection has ended, or another backend
	// has been set. Requests taken over are still to be completed. It is called once for each session that came with a
	// request.
	Closed(s *Session)
}

// Credential is what AUTH needs about a user.
type Credential struct {
	ID   uint32
	Name string
	// ChapSHA1 is sha1(sha1(password)).
	ChapSHA1    [iproto.ScrambleBytes]byte
	HasPassword bool
	// Internal users are other instances of the cluster: what they ask never waits for clients, or a load would cut the
	// cluster apart.
	Internal bool
	// Refusal, if not nil, is what a login gets although the password is right.
	Refusal *errcode.Error
	// NotYet, if not nil, is what every login gets, since what it has to be compared with is not known yet.
	NotYet *errcode.Error
}

// AuthEvent is one AUTH request and how it ended.
type AuthEvent struct {
	Session uint64
	Peer    string
	User    string
	// Err is nil for a login that was granted, else what the client was told.
	Err error
}

// Options configure a Server.
type Options struct {
	// Backend must be set.
	Backend Backend
	// Version is announced in the greeting, "2.11.0" if empty.
	Version string
	// InstanceUUID is asked for the uuid in each greeting; nil means the zero uuid.
	InstanceUUID func() string
	Limits       Limits
	Logger       *slog.Logger
	// OpenKeys are the keys that a session may watch before it has logged in with a password.
	OpenKeys []string
	// OnAuth, if set, is called after each AUTH request on the goroutine of its connection.
	OnAuth func(AuthEvent)
}

// Limits bound what connections may take. Zero fields get the defaults.
type Limits struct {
	// FrameBytesPreAuth bounds a frame of a session that never logged in with a password (16 KiB).
	FrameBytesPreAuth int
	// FrameBytes bounds a frame of the others (64 MiB).
	FrameBytes int
	// InFlight is the number of requests taken over by the backend from which on no connection is read (768, as
	// Tarantool's net_msg_max).
	InFlight int
	// InFlightBytes is the size of such requests together from which on the same happens (64 MiB); those below 4 KiB are
	// not counted.
	InFlightBytes int
	// QueueBytes bounds the finished replies that wait for a connection to be written; a connection that has more is
	// cut (32 MiB).
	QueueBytes int
	// OutputBytes bounds the replies of all connections that wait to be written (256 MiB): beyond it a connection is cut
	// when it has more than its even share of that and gets another one.
	OutputBytes int
	// Connections is the number of connections from which on new ones are closed at once, those of ServeAs excepted
	// (10,000).
	Connections int
	// Watches is the number of keys that one session may watch (128).
	Watches int
	// WriteTimeout is how long a peer may take no bytes at all before it is cut (30 s).
	WriteTimeout time.Duration
	// PreAuthTimeout is how long a session that never logged in may take for its first request and for each frame that
	// it has begun (10 s).
	PreAuthTimeout time.Duration
	// LateTimeout is how long a server that stops goes on reading from a connection, to refuse what comes, and once more as
	// long for the peer to end it (250 ms).
	LateTimeout time.Duration
}

const (
	defaultVersion = "2.11.0"
	zeroUUID       = "00000000-0000-0000-0000-000000000000"

	// protocolVersion is what ID announces, with the list of features.
	protocolVersion = 6
	// flushBytes is the size of gathered replies from which on they are written before the drain ends.
	flushBytes = 64 << 10
	// writeChunkBytes is how much one write call gets, so that progress of slow peers is seen.
	writeChunkBytes = 256 << 10
	// bufferBytes is the size of pooled buffers; larger ones are made as bytes arrive.
	bufferBytes = 32 << 10
	// largeBytesMax is the size up to which buffers that have grown are kept for replies.
	largeBytesMax = 1 << 20
	// smallBytes is the size of the buffers in which short replies wait.
	smallBytes = 512
	// countedBytesMin is the size of a request from which on its bytes are counted while it is in flight.
	countedBytesMin = 4 << 10
	// lingerBytes and lingerTimeout bound how much is still read and thrown away after the last reply to a peer that
	// broke the protocol, so that the reply is not lost in a reset.
	lingerBytes   = 1 << 20
	lingerTimeout = time.Second
	// pendingPoll is how often a connection of a server that stops looks whether all it owes is answered.
	pendingPoll = 5 * time.Millisecond
	// acceptPauseMax bounds the pause after a failed accept.
	acceptPauseMax = time.Second
	// userTextBytesMax bounds how much of a foreign user name is repeated in errors and events.
	userTextBytesMax = 128
)

// features is what ID announces: exactly the optional parts of the protocol that work here.
var features = []iproto.Feature{
	iproto.FeatureStreams,
	iproto.FeatureTransactions,
	iproto.FeatureErrorExtension, // error values are kept and given back as they came; the server makes none
	iproto.FeatureWatchers,
	iproto.FeaturePagination,
	iproto.FeatureNames,
	iproto.FeatureWatchOnce,
}

func (o Options) withDefaults() Options {
	if o.Version == "" {
		o.Version = defaultVersion
	}
	if o.InstanceUUID == nil {
		o.InstanceUUID = func() string { return zeroUUID }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnAuth == nil {
		o.OnAuth = func(AuthEvent) {}
	}
	l := &o.Limits
	setDefault(&l.FrameBytesPreAuth, 16<<10)
	setDefault(&l.FrameBytes, 64<<20)
	setDefault(&l.InFlight, 768)
	setDefault(&l.InFlightBytes, 64<<20)
	setDefault(&l.QueueBytes, 32<<20)
	setDefault(&l.OutputBytes, 256<<20)
	setDefault(&l.Connections, 10_000)
	setDefault(&l.Watches, 128)
	setDefault(&l.WriteTimeout, 30*time.Second)
	setDefault(&l.PreAuthTimeout, 10*time.Second)
	setDefault(&l.LateTimeout, 250*time.Millisecond)
	return o
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}
