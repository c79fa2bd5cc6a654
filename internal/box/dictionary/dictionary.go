// Package dictionary holds the system rows of a fresh Tarantool 2.6 database: the spaces that describe all spaces, and
// the ids of the system spaces. Pure. Storing the rows and acting on changes to them is done by package box.
//
// The rows were taken from a snapshot that Tarantool 2.6 wrote; rows.bin is made from the captured file by the test of
// this package (go test -run TestRows -rewrite).
package dictionary

import (
	_ "embed"

	"github.com/lycosadb/lycosa/internal/invariant"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Ids of the system spaces of Tarantool 2.6. A name that begins with SpaceV is a view: it shows the rows of the space
// of the same name that the session's user may see.
const (
	SpaceVinylDeferredDelete uint32 = 257
	SpaceSchema              uint32 = 272
	SpaceCollation           uint32 = 276
	SpaceVCollation          uint32 = 277
	SpaceSpace               uint32 = 280
	SpaceVSpace              uint32 = 281
	SpaceSequence            uint32 = 284
	SpaceSequenceData        uint32 = 285
	SpaceVSequence           uint32 = 286
	SpaceIndex               uint32 = 288
	SpaceVIndex              uint32 = 289
	SpaceFunc                uint32 = 296
	SpaceVFunc               uint32 = 297
	SpaceUser                uint32 = 304
	SpaceVUser               uint32 = 305
	SpacePriv                uint32 = 312
	SpaceVPriv               uint32 = 313
	SpaceCluster             uint32 = 320
	SpaceTrigger             uint32 = 328
	SpaceTruncate            uint32 = 330
	SpaceSpaceSequence       uint32 = 340
	SpaceFKConstraint        uint32 = 356
	SpaceCKConstraint        uint32 = 364
	SpaceFuncIndex           uint32 = 372
	SpaceSessionSettings     uint32 = 380
)

// The range of ids that no user may give to a space, and the largest id of a user's space.
const (
	SystemIDMin uint32 = 256
	SystemIDMax uint32 = 511
	UserIDMin   uint32 = 512
	UserIDMax   uint32 = 2147483647
)

// Ids of the built-in users and roles.
const (
	UserGuest       uint32 = 0
	UserAdmin       uint32 = 1
	RolePublic      uint32 = 2
	RoleReplication uint32 = 3
	RoleSuper       uint32 = 31
)

// Names of the engines that the rows of _space name.
const (
	EngineMemtx     = "memtx"
	EngineSysview   = "sysview"
	EngineBlackhole = "blackhole"
	EngineService   = "service"
)

// The data dictionary version that the rows have, as in _schema's row "version".
const (
	VersionMajor = 2
	VersionMinor = 3
	VersionPatch = 1
)

// rowsVersion is the first byte of rows.bin. Rows follow: a space id and a tuple each, in MessagePack, in the order in
// which Tarantool writes them to a snapshot (by space, then by primary key).
const rowsVersion = 1

//go:embed rows.bin
var rowsFile string

// Rows yields the rows of a fresh database that do not depend on the instance, in the order of a snapshot: _collation,
// _space, _index, _func, _user, _priv. Those of _schema are made by Fresh, that of _cluster by ClusterRow. The tuples
// are the caller's to keep and to change.
func Rows(yield func(space uint32, tuple []byte) bool) {
	b := []byte(rowsFile)
	invariant.Check(len(b) > 0 && b[0] == rowsVersion, "dictionary: unknown version of the embedded rows")
	b = b[1:]
	for len(b) > 0 {
		space, rest, err := msgpack.ReadUint(b)
		invariant.Check(err == nil, "dictionary: bad space id in the embedded rows")
		b, err = msgpack.Skip(rest)
		invariant.Check(err == nil, "dictionary: bad tuple in the embedded rows")
		n := len(rest) - len(b)
		if !yield(uint32(space), rest[:n:n]) {
			return
		}
	}
}

// Fresh returns the rows of _schema of a fresh database, in order of their keys. The uuid is that of the cluster (in
// Tarantool's words: of the replicaset), in its text form.
func Fresh(clusterUUID string) [][]byte {
	cluster := msgpack.AppendStr(msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 2), "cluster"), clusterUUID)
	return [][]byte{cluster, MaxIDRow(SystemIDMax), versionRow()}
}

// MaxIDRow returns the row of _schema that names the largest space id given out so far.
func MaxIDRow(id uint32) []byte {
	return msgpack.AppendUint(msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 2), "max_id"), uint64(id))
}

func versionRow() []byte {
	row := msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 4), "version")
	row = msgpack.AppendUint(row, VersionMajor)
	row = msgpack.AppendUint(row, VersionMinor)
	return msgpack.AppendUint(row, VersionPatch)
}

// ClusterRow returns the row of _cluster of one instance: its number in vector clocks (1 to 31) and its uuid.
func ClusterRow(id uint32, instanceUUID string) []byte {
	return msgpack.AppendStr(msgpack.AppendUint(msgpack.AppendArrayHeader(nil, 2), uint64(id)), instanceUUID)
}

// IsSystem reports whether the id is in the range of system spaces.
func IsSystem(id uint32) bool { return id >= SystemIDMin && id <= SystemIDMax }

// IsForeign reports whether the rows of the space are written to a snapshot only so that Tarantool can open it: our own
// recovery skips them, because their truth is elsewhere in the cluster.
func IsForeign(id uint32) bool {
	switch id {
	case SpaceCluster, SpaceUser, SpacePriv, SpaceFunc:
		return true
	}
	return false
}

// ViewOf returns the space whose rows a view shows.
func ViewOf(view uint32) (source uint32, ok bool) {
	switch view {
	case SpaceVCollation, SpaceVSpace, SpaceVIndex, SpaceVFunc, SpaceVUser, SpaceVPriv:
		return view - 1, true
	case SpaceVSequence:
		return SpaceSequence, true
	}
	return 0, false
}
