package box

import (
	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// A global table is a user's space whose rows are in the catalog of the cluster. The dictionary has its definition, with an
// option that says so, and the engine reads it through Options.Global; nothing of it is written here.
const (
	flagDistribution   = "distribution"
	distributionGlobal = "global"
)

// refusesGlobal refuses what the catalog would not keep to in a global table.
func (e *Engine) refusesGlobal(space uint32, row []byte) error {
	what := ""
	switch space {
	case dictionary.SpaceCKConstraint:
		what = "check constraints"
	case dictionary.SpaceSpaceSequence:
		what = "sequence"
	case dictionary.SpaceTruncate:
		what = "mark in _truncate"
	}
	if what == "" || row == nil {
		return nil
	}
	if sp := e.schema.Space(uint32(firstUint(row, 0))); sp != nil && sp.global {
		return errcode.New(errcode.GlobalTableFeature, sp.Name, what)
	}
	return nil
}

// In a snapshot the row of _space of a global table has no option that Tarantool does not know, or it would not open the file.
// What is missing there is a field more, which Tarantool keeps and does not look at.
const spaceFields = 7

// SnapshotRow returns the row of a space as it is written into a snapshot: itself, unless it is one of _space that defines a
// global table.
func SnapshotRow(space uint32, row []byte) []byte {
	if space != spaceSpace {
		return row
	}
	def, err := ParseSpaceRow(row)
	if err != nil || !def.Global {
		return row
	}
	return withFlags(row, spaceFields+1, func(key string) bool { return key != flagDistribution }, false)
}

// loadedRow is the inverse of SnapshotRow.
func loadedRow(space uint32, row []byte) []byte {
	n, last, err := msgpack.ReadArrayLen(row)
	if space != spaceSpace || err != nil || n != spaceFields+1 {
		return row
	}
	for range spaceFields {
		last = msgpack.SkipTrusted(last)
	}
	if string(last) != string(distributionField()) {
		return row
	}
	return withFlags(row, spaceFields, func(string) bool { return true }, true)
}

// distributionField is the field that says in a snapshot that a table is global.
func distributionField() []byte {
	return append(msgpack.AppendMapHeader(nil, 1), distributionOption()...)
}

// distributionOption is a pair of a map of options.
func distributionOption() []byte {
	return msgpack.AppendStr(msgpack.AppendStr(nil, flagDistribution), distributionGlobal)
}

// withFlags makes a row of _space another one of n fields: with those options that keep wants, and that of the distribution
// among them, or in a field of its own behind the others.
func withFlags(row []byte, n int, keep func(key string) bool, among bool) []byte {
	_, rest, _ := msgpack.ReadArrayLen(row)
	head := rest
	for range spaceFields - 2 {
		rest = msgpack.SkipTrusted(rest)
	}
	head = head[:len(head)-len(rest)]
	count, pairs, _ := msgpack.ReadMapLen(rest)
	format := msgpack.SkipTrusted(rest)
	format = format[:len(format)-len(msgpack.SkipTrusted(format))]
	var flags []byte
	kept := 0
	for range count {
		key, value, _ := msgpack.ReadStr(pairs)
		next := msgpack.SkipTrusted(value)
		if keep(string(key)) {
			flags, kept = append(flags, pairs[:len(pairs)-len(next)]...), kept+1
		}
		pairs = next
	}
	if among {
		flags, kept = append(flags, distributionOption()...), kept+1
	}
	out := append(msgpack.AppendArrayHeader(nil, n), head...)
	out = append(append(msgpack.AppendMapHeader(out, kept), flags...), format...)
	if !among {
		out = append(out, distributionField()...)
	}
	return out
}
