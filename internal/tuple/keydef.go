package tuple

import (
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Limits of index definitions, as in Tarantool.
const (
	// PartsMax is how many parts one key may have.
	PartsMax = 255
	// FieldNoMax is the largest indexed field number.
	FieldNoMax = 32767
)

// Part is one part of an index key. Field is 0-based. Path, if not empty, leads to a value within the field: a.b[1],
// with indexes from 1. ExcludeNull, which needs Nullable, keeps tuples whose value is nil out of the index. Descending is
// refused by NewKeyDef in this version.
type Part struct {
	Field      uint32
	Type       FieldType
	Nullable   bool
	Collation  uint32
	Descending bool
	Path       string

	ExcludeNull bool
	OnNil       NilAction
}

// shape is the fast path that a key definition takes, decided once.
type shape uint8

const (
	shapeGeneric  shape = iota
	shapeUnsigned       // one part, field 0, unsigned, never nil
	shapeInteger
	shapeString
	shapePrefix // parts are fields 0, 1, 2 … in this order
)

// KeyDef says which fields make up the key of an index and how keys are ordered. It never changes.
type KeyDef struct {
	parts    []Part
	shape    shape
	hint     hintKind
	first    int  // field of the first part, -1 if that part is special
	one      bool // a single part
	nullable bool // some part may be nil
	excludes bool // of some part, tuples that are nil there are not in the index
	special  []special
	coll     *collation // of the first part
}

// NewKeyDef checks parts and makes a definition of them. An error has number 108, or 14 and as its message the reason
// alone: it is the caller who knows index and space and puts the reason into the whole text.
func NewKeyDef(parts []Part) (*KeyDef, error) {
	if len(parts) == 0 || len(parts) > PartsMax {
		return nil, errcode.Newf(errcode.ModifyIndex, "%s", partCountText(len(parts)))
	}
	for i, p := range parts {
		if text := p.refusal(); text != "" {
			return nil, errcode.Newf(errcode.ModifyIndex, "%s", text)
		}
		if err := p.checkPath(i + 1); err != nil {
			return nil, err
		}
		for _, q := range parts[:i] {
			if samePlace(p, q) {
				return nil, errcode.Newf(errcode.ModifyIndex, "same key part is indexed twice")
			}
		}
	}
	return newKeyDef(append([]Part(nil), parts...)), nil
}

func partCountText(n int) string {
	if n == 0 {
		return "part count must be positive"
	}
	return "too many key parts"
}

// refusal says why a part cannot be indexed, "" if it can.
func (p Part) refusal() string {
	switch {
	case p.Type >= fieldTypes:
		return "unknown field type"
	case !p.Type.indexable():
		return "field type '" + p.Type.String() + "' is not supported"
	case p.Field > FieldNoMax:
		return "field no is too big"
	case p.Collation != CollationNone && p.Type != String && p.Type != Scalar:
		return "collation is reasonable only for string and scalar parts"
	case p.Collation > CollationBinary:
		return "of the collations only none, binary, unicode and unicode_ci are supported"
	case p.ExcludeNull && !p.Nullable:
		return "exclude_null needs is_nullable"
	case p.Descending:
		return "descending order is not supported"
	}
	return ""
}

// checkPath checks the path of part number i, from 1.
func (p Part) checkPath(i int) error {
	_, err := parsePath(p.Path)
	if errcode.Is(err, errcode.WrongIndexOptions) {
		return errcode.New(errcode.WrongIndexOptions, i, err.Error())
	}
	return err
}

func newKeyDef(parts []Part) *KeyDef {
	k := &KeyDef{parts: parts, one: len(parts) == 1, first: int(parts[0].Field), hint: hintOf(parts[0])}
	if k.special = specials(parts); k.special != nil {
		if s := k.special[0]; s.coll != nil || s.path != nil {
			k.first, k.coll = -1, s.coll
		}
	}
	prefix := k.special == nil
	for i, p := range parts {
		prefix = prefix && p.Field == uint32(i)
		k.nullable = k.nullable || p.Nullable
		k.excludes = k.excludes || p.ExcludeNull
	}
	switch p := parts[0]; {
	case !prefix:
		k.shape = shapeGeneric
	case !k.one || p.Nullable:
		k.shape = shapePrefix
	case p.Type == Unsigned:
		k.shape = shapeUnsigned
	case p.Type == Integer:
		k.shape = shapeInteger
	case p.Type == String:
		k.shape = shapeString
	default:
		k.shape = shapePrefix
	}
	return k
}

// Parts returns a copy of the parts.
func (k *KeyDef) Parts() []Part { return append([]Part(nil), k.parts...) }

// PartCount returns the number of parts.
func (k *KeyDef) PartCount() int { return len(k.parts) }

// Nullable reports whether some part may be nil.
func (k *KeyDef) Nullable() bool { return k.nullable }

// Merge returns the parts of k followed by those parts of the primary key that k lacks: the order of a non-unique
// index.
func (k *KeyDef) Merge(pk *KeyDef) *KeyDef {
	parts := k.Parts()
	for _, p := range pk.parts {
		known := false
		for _, q := range k.parts {
			known = known || q.covers(p)
		}
		if !known {
			parts = append(parts, p)
		}
	}
	return newKeyDef(parts)
}

// ExtractKey appends the key parts of a tuple, without an array header; a field that is not there becomes nil.
func (k *KeyDef) ExtractKey(dst, tup []byte) []byte {
	c := newCursor(tup)
	for i := range k.parts {
		b := k.value(&c, i)
		if b == nil {
			dst = append(dst, nilField...)
			continue
		}
		dst = append(dst, b[:msgpack.SizeTrusted(b)]...)
	}
	return dst
}

// HasNull reports whether a nullable part of the tuple is nil or missing. A unique index allows any number of
// such keys.
func (k *KeyDef) HasNull(tup []byte) bool {
	if !k.nullable {
		return false
	}
	c := newCursor(tup)
	for i := range k.parts {
		if !k.parts[i].Nullable {
			continue
		}
		if b := k.value(&c, i); b == nil || b[0] == 0xc0 {
			return true
		}
	}
	return false
}

// Excludes reports whether a tuple is not in the index, because a part that excludes nil is nil or missing.
func (k *KeyDef) Excludes(tup []byte) bool {
	if !k.excludes {
		return false
	}
	c := newCursor(tup)
	for i := range k.parts {
		if !k.parts[i].ExcludeNull {
			continue
		}
		if b := k.value(&c, i); b == nil || b[0] == 0xc0 {
			return true
		}
	}
	return false
}

// ValidateKey checks that key starts with n values (n at most the number of parts) of the types of the first n parts.
// The error is 18, or 20 if the bytes are no MessagePack.
func (k *KeyDef) ValidateKey(key []byte, n int) error { return k.validate(key, n, true) }

// ValidateExactKey is ValidateKey for all parts of a key that names one tuple: nil is not among the values that it takes.
func (k *KeyDef) ValidateExactKey(key []byte) error { return k.validate(key, len(k.parts), false) }

func (k *KeyDef) validate(key []byte, n int, nilAllowed bool) error {
	for i := range min(n, len(k.parts)) {
		rest, err := msgpack.Skip(key)
		if err != nil {
			return errcode.New(errcode.InvalidMsgPack, "packet body")
		}
		p := &k.parts[i]
		bit := kindBit(key)
		if bit&p.Type.mask() == 0 && !(nilAllowed && p.Nullable && bit == bitNil) {
			return errcode.New(errcode.KeyPartType, i, p.Type.String())
		}
		key = rest
	}
	return nil
}
