package iproto

import (
	"encoding/binary"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// emptyArray stands for arguments that were not given.
var emptyArray = []byte{0x90}

// BeginRequest appends the length and header of a request; the caller appends the body map and ends with EndRequest.
func BeginRequest(dst []byte, t Type, sync uint64) (out []byte, mark int) {
	mark = len(dst)
	dst = append(dst, 0xce, 0, 0, 0, 0, 0x82, byte(KeyType))
	dst = msgpack.AppendUint(dst, uint64(t))
	dst = append(dst, byte(KeySync))
	return msgpack.AppendUint(dst, sync), mark
}

// EndRequest sets the length of the request that BeginRequest began at mark.
func EndRequest(dst []byte, mark int) []byte {
	binary.BigEndian.PutUint32(dst[mark+1:], uint32(len(dst)-mark-5))
	return dst
}

// AppendPing appends a PING request.
func AppendPing(dst []byte, sync uint64) []byte {
	dst, mark := BeginRequest(dst, TypePing, sync)
	return EndRequest(append(dst, 0x80), mark)
}

// AppendID appends an ID request that announces a protocol version and features.
func AppendID(dst []byte, sync, version uint64, features ...Feature) []byte {
	dst, mark := BeginRequest(dst, TypeID, sync)
	dst = msgpack.AppendUint(append(dst, 0x82, byte(KeyVersion)), version)
	dst = msgpack.AppendArrayHeader(append(dst, byte(KeyFeatures)), len(features))
	for _, f := range features {
		dst = msgpack.AppendUint(dst, f)
	}
	return EndRequest(dst, mark)
}

// AppendWatch appends a WATCH, UNWATCH or WATCH_ONCE request for a key.
func AppendWatch(dst []byte, t Type, sync uint64, key string) []byte {
	dst, mark := BeginRequest(dst, t, sync)
	return EndRequest(msgpack.AppendStr(append(dst, 0x81, byte(KeyEventKey)), key), mark)
}

// AppendAuth appends an AUTH request with a chap-sha1 scramble; a nil scramble becomes the empty tuple that logs guest
// in.
func AppendAuth(dst []byte, sync uint64, user string, scramble []byte) []byte {
	dst, mark := BeginRequest(dst, TypeAuth, sync)
	dst = msgpack.AppendStr(append(dst, 0x82, byte(KeyUser)), user)
	dst = append(dst, byte(KeyTuple))
	if scramble == nil {
		return EndRequest(append(dst, 0x90), mark)
	}
	dst = msgpack.AppendStr(append(dst, 0x92), AuthChapSHA1)
	return EndRequest(msgpack.AppendStrBytes(dst, scramble), mark)
}

// SelectArgs are the arguments of SELECT. Key is a MessagePack array with its header; nil means the empty one. Space and
// index names that are not empty go instead of the ids.
type SelectArgs struct {
	Space, Index, Iterator uint32
	SpaceName, IndexName   string
	Offset, Limit          uint32
	Key                    []byte
	// FetchPosition asks for the position at which the page ends. After is the position at which another one ended,
	// AfterTuple (an array with its header) a tuple: the page begins behind it.
	FetchPosition bool
	After         []byte
	AfterTuple    []byte
}

// AppendSelect appends a SELECT request.
func AppendSelect(dst []byte, sync uint64, a SelectArgs) []byte {
	dst, mark := BeginRequest(dst, TypeSelect, sync)
	pairs := byte(0x86)
	if a.FetchPosition {
		pairs++
	}
	if a.After != nil {
		pairs++
	}
	if a.AfterTuple != nil {
		pairs++
	}
	dst = appendSpace(append(dst, pairs), a.Space, a.SpaceName)
	dst = appendIndex(dst, a.Index, a.IndexName)
	dst = msgpack.AppendUint(append(dst, byte(KeyIterator)), uint64(a.Iterator))
	if a.FetchPosition {
		dst = msgpack.AppendBool(append(dst, byte(KeyFetchPosition)), true)
	}
	if a.After != nil {
		dst = msgpack.AppendStrBytes(append(dst, byte(KeyAfterPosition)), a.After)
	}
	if a.AfterTuple != nil {
		dst = appendArray(append(dst, byte(KeyAfterTuple)), a.AfterTuple)
	}
	dst = msgpack.AppendUint(append(dst, byte(KeyOffset)), uint64(a.Offset))
	dst = msgpack.AppendUint(append(dst, byte(KeyLimit)), uint64(a.Limit))
	return EndRequest(appendArray(append(dst, byte(KeyKey)), a.Key), mark)
}

// AppendInsert appends an INSERT (or, with TypeReplace, a REPLACE) request; tuple is an array with its header.
func AppendInsert(dst []byte, t Type, sync uint64, space uint32, tuple []byte) []byte {
	dst, mark := BeginRequest(dst, t, sync)
	dst = appendSpace(append(dst, 0x82), space, "")
	return EndRequest(appendArray(append(dst, byte(KeyTuple)), tuple), mark)
}

// AppendInsertNamed is AppendInsert for a space given by its name.
func AppendInsertNamed(dst []byte, t Type, sync uint64, space string, tuple []byte) []byte {
	dst, mark := BeginRequest(dst, t, sync)
	dst = appendSpace(append(dst, 0x82), 0, space)
	return EndRequest(appendArray(append(dst, byte(KeyTuple)), tuple), mark)
}

// ChangeArgs are the arguments of UPDATE, UPSERT and DELETE. Key, Tuple and Ops are arrays with their headers; field
// numbers in Ops count from IndexBase. Space and index names that are not empty go instead of the ids.
type ChangeArgs struct {
	Space, Index, IndexBase uint32
	SpaceName, IndexName    string
	Key, Tuple, Ops         []byte
}

// AppendUpdate appends an UPDATE request of the tuple with the given key.
func AppendUpdate(dst []byte, sync uint64, a ChangeArgs) []byte {
	dst, mark := BeginRequest(dst, TypeUpdate, sync)
	dst = appendSpace(append(dst, 0x85), a.Space, a.SpaceName)
	dst = appendIndex(dst, a.Index, a.IndexName)
	dst = msgpack.AppendUint(append(dst, byte(KeyIndexBase)), uint64(a.IndexBase))
	dst = appendArray(append(dst, byte(KeyKey)), a.Key)
	return EndRequest(appendArray(append(dst, byte(KeyTuple)), a.Ops), mark)
}

// AppendUpsert appends an UPSERT request.
func AppendUpsert(dst []byte, sync uint64, a ChangeArgs) []byte {
	dst, mark := BeginRequest(dst, TypeUpsert, sync)
	dst = appendSpace(append(dst, 0x84), a.Space, a.SpaceName)
	dst = msgpack.AppendUint(append(dst, byte(KeyIndexBase)), uint64(a.IndexBase))
	dst = appendArray(append(dst, byte(KeyTuple)), a.Tuple)
	return EndRequest(appendArray(append(dst, byte(KeyOps)), a.Ops), mark)
}

// AppendDelete appends a DELETE request of the tuple with the given key.
func AppendDelete(dst []byte, sync uint64, a ChangeArgs) []byte {
	dst, mark := BeginRequest(dst, TypeDelete, sync)
	dst = appendSpace(append(dst, 0x83), a.Space, a.SpaceName)
	dst = appendIndex(dst, a.Index, a.IndexName)
	return EndRequest(appendArray(append(dst, byte(KeyKey)), a.Key), mark)
}

// AppendCall appends a CALL request; args is an array with its header, nil means no arguments.
func AppendCall(dst []byte, sync uint64, function string, args []byte) []byte {
	dst, mark := BeginRequest(dst, TypeCall, sync)
	dst = msgpack.AppendStr(append(dst, 0x82, byte(KeyFunction)), function)
	return EndRequest(appendArray(append(dst, byte(KeyTuple)), args), mark)
}

// AppendCallOf appends a CALL request with one argument.
func AppendCallOf(dst []byte, sync uint64, function string, argument []byte) []byte {
	dst, mark := BeginRequest(dst, TypeCall, sync)
	dst = msgpack.AppendStr(append(dst, 0x82, byte(KeyFunction)), function)
	return EndRequest(append(msgpack.AppendArrayHeader(append(dst, byte(KeyTuple)), 1), argument...), mark)
}

// AppendEval appends an EVAL request; args is an array with its header, nil means no arguments.
func AppendEval(dst []byte, sync uint64, expr string, args []byte) []byte {
	dst, mark := BeginRequest(dst, TypeEval, sync)
	dst = msgpack.AppendStr(append(dst, 0x82, byte(KeyExpr)), expr)
	return EndRequest(appendArray(append(dst, byte(KeyTuple)), args), mark)
}

func appendArray(dst, array []byte) []byte {
	if len(array) == 0 {
		array = emptyArray
	}
	return append(dst, array...)
}

// appendSpace appends the pair that says which space is meant.
func appendSpace(dst []byte, id uint32, name string) []byte {
	if name != "" {
		return msgpack.AppendStr(append(dst, byte(KeySpaceName)), name)
	}
	return msgpack.AppendUint(append(dst, byte(KeySpaceID)), uint64(id))
}

// appendIndex appends the pair that says which index is meant.
func appendIndex(dst []byte, id uint32, name string) []byte {
	if name != "" {
		return msgpack.AppendStr(append(dst, byte(KeyIndexName)), name)
	}
	return msgpack.AppendUint(append(dst, byte(KeyIndexID)), uint64(id))
}
