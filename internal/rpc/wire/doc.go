// Package wire is the codec of what instances say to each other: the arguments and answers of the built-in procedures that
// one instance calls on another, by CALL of the binary protocol, as user pico_service. Pure. What a message means is decided
// by those who ask and answer; how it travels is package rpc.
//
// A message is a MessagePack array, and so is every structure in it. Elements that follow the known ones are skipped, so
// that a newer version can add fields at the end. Nothing is allocated by a length that was not compared with the bytes that
// are there, and lists and words have limits.
package wire

import (
	"bytes"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// The procedures, with the types of argument and answer. An answer of nil is the one value nil.
const (
	ProcDiscover      = ".proc_discover"                 // discovery.Request → discovery.Answer
	ProcHello         = ".proc_hello"                    // Header → HelloAnswer
	ProcInteract      = ".proc_raft_interact"            // Interact → nil, or an Interact in which the groups answer heartbeats
	ProcCAS           = ".proc_cas"                      // CAS → catalog.Result
	ProcProxy         = ".proc_proxy"                    // Proxy → ProxyAnswer
	ProcReadIndex     = ".proc_read_index"               // ReadIndex → index
	ProcGroupChange   = ".proc_group_change"             // GroupChange → nil
	ProcTransfer      = ".proc_transfer_leader"          // Transfer → nil
	ProcSnapshotChunk = ".proc_raft_snapshot_next_chunk" // SnapshotChunk → SnapshotPart
	ProcJoin          = ".proc_raft_join"                // catalog.JoinRequest → catalog.JoinAnswer
	ProcExpel         = ".proc_expel"                    // Expel → nil
	ProcReplace       = ".proc_replace"                  // Replace → nil
	ProcPromote       = ".proc_promote"                  // Promote → nil
	ProcAbortDDL      = ".proc_abort_ddl"                // AbortDDL → nil
	ProcWithout       = ".proc_bootstrap_without"        // BootstrapWithout → nil
)

// The raft groups that a message may be for.
const (
	GroupCatalog uint8 = 1 // the catalog
	GroupData    uint8 = 2 // the data group of the receiver's replicaset
)

// Limits of what a message may hold. Lists are counted in elements.
const (
	WordBytesMax         = 256      // names, uuids, addresses, cluster names
	MessagesMax          = 4096     // raft messages of an Interact
	MembersMax           = 4096     // raft ids of a list, members whose progress is told
	ChangesMax           = 256      // changes of membership at once
	RangesMax            = 1024     // ranges of a predicate
	DomainsMax           = 128      // pairs of a failure domain
	SnapshotPartBytesMax = 16 << 20 // what an instance may ask for, or give, in one part of a snapshot
)

// Argument takes the message out of the arguments of a CALL, which are an array with it as the only element. The result is
// a part of args. Errors: 1.
func Argument(args []byte) ([]byte, error) {
	n, b, err := msgpack.ReadArrayLen(args)
	if err != nil || n != 1 || msgpack.Check(b) != nil {
		return nil, errcode.New(errcode.IllegalParams, "the procedure takes one argument")
	}
	return b, nil
}

// AppendArguments appends the arguments of a CALL that carries the message.
func AppendArguments(dst, message []byte) []byte {
	return append(msgpack.AppendArrayHeader(dst, 1), message...)
}

// Answer takes the first of the values that a CALL has returned, nil if there is none; returned is their array with its
// header. The result is a part of it. Errors: 1.
func Answer(returned []byte) ([]byte, error) {
	if len(returned) == 0 {
		return nil, nil
	}
	n, b, err := msgpack.ReadArrayLen(returned)
	if err != nil {
		return nil, errcode.New(errcode.IllegalParams, "the answer is no list of values")
	}
	if n == 0 {
		return nil, nil
	}
	rest, err := msgpack.Skip(b)
	if err != nil {
		return nil, errcode.New(errcode.IllegalParams, "the answer is cut off")
	}
	return b[: len(b)-len(rest) : len(b)-len(rest)], nil
}

// IsNil reports that an answer tells nothing but that it is done.
func IsNil(answer []byte) bool { return bytes.Equal(answer, AppendNil(nil)) }

// AppendNil appends the answer of a procedure that has nothing to tell but that it is done.
func AppendNil(dst []byte) []byte { return msgpack.AppendNil(dst) }
