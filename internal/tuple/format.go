package tuple

import (
	"strconv"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Field is one entry of a space format.
type Field struct {
	Name      string
	Type      FieldType
	Nullable  bool
	Collation uint32
	OnNil     NilAction
}

// Format is what every tuple of a space must look like. It never changes.
type Format struct {
	fields     []Field
	rules      []rule
	names      map[string]int
	exactCount uint32
	required   int // fields that a tuple must have at least
	paths      map[int]*pathRule
	leaves     []pathLeaf // in the order in which a missing one is named
}

// rule is what one field must hold: the accepted kinds, nil among them if it may be nil.
type rule struct {
	mask    uint32
	kind    FieldType
	onNil   NilAction
	indexed bool // some index has narrowed it
}

func (r *rule) nullable() bool { return r.onNil == nilNone }

// NewFormat joins the declared fields with what the indexes ask of theirs: an index part narrows the type of its
// field, and makes it required unless the part and the field are nullable. exactCount 0 means any number of fields.
// Errors: 27 if a part and its declared field have types that exclude each other, 24 if that part is not the field's first.
func NewFormat(fields []Field, exactCount uint32, keys []*KeyDef) (*Format, error) {
	f := &Format{fields: append([]Field(nil), fields...), names: make(map[string]int, len(fields)), exactCount: exactCount}
	f.rules = make([]rule, len(fields))
	for i, d := range fields {
		f.names[d.Name] = i
		f.rules[i] = rule{kind: d.Type, onNil: d.OnNil.of(d.Nullable)}
	}
	for _, k := range keys {
		for _, p := range k.parts {
			if err := f.narrow(p); err != nil {
				return nil, err
			}
		}
	}
	for i := range f.rules {
		r := &f.rules[i]
		switch r.mask = r.kind.mask(); {
		case f.paths[i] != nil:
		case r.nullable():
			r.mask |= bitNil
		default:
			f.required = i + 1
		}
	}
	return f, nil
}

// narrow adds the demand of one index part to its field.
func (f *Format) narrow(p Part) error {
	if p.Path != "" {
		return f.narrowPath(p)
	}
	if err := f.rule(p.Field).agree(p, int(p.Field) < len(f.fields)); err != nil {
		return err
	}
	return f.narrowKind(p.Field, p.Type)
}

// rule returns the rule of a field, which it makes if there is none.
func (f *Format) rule(field uint32) *rule {
	for int(field) >= len(f.rules) {
		f.rules = append(f.rules, rule{kind: Any, onNil: nilNone})
	}
	return &f.rules[field]
}

func (f *Format) narrowKind(field uint32, kind FieldType) error {
	r := f.rule(field)
	switch {
	case contains(r.kind, kind):
		r.kind = kind
	case contains(kind, r.kind):
	default:
		code := errcode.IndexPartTypeMismatch
		if !r.indexed {
			code = errcode.FormatMismatchIndexPart
		}
		return errcode.New(code, strconv.Itoa(int(field)+1), r.kind.String(), kind.String())
	}
	r.indexed = true
	return nil
}

// agree joins what the rule and an index part say about nil: who says no is right, and what else they say has to be the
// same. Of a field that is not declared the first part decides.
func (r *rule) agree(p Part, declared bool) error {
	a := p.OnNil.of(p.Nullable)
	if !declared && !r.indexed {
		r.onNil = a
	}
	switch {
	case r.onNil == a:
	case r.onNil == nilDefault:
		if a != nilNone {
			r.onNil = a
		}
	case a == nilDefault:
		if r.onNil == nilNone {
			r.onNil = a
		}
	default:
		return errcode.New(errcode.ActionMismatch, p.Field+1, nilActionNames[r.onNil], nilActionNames[a])
	}
	return nil
}

// contains reports whether every value of type b is one of type a.
func contains(a, b FieldType) bool { return a.mask()&b.mask() == b.mask() }

// Contains reports whether every value of type other is one of type t.
func (t FieldType) Contains(other FieldType) bool { return contains(t, other) }

// Fields returns a copy of the declared fields.
func (f *Format) Fields() []Field { return append([]Field(nil), f.fields...) }

// FieldNo finds a declared field by name; the number is 0-based.
func (f *Format) FieldNo(name string) (int, bool) {
	if f == nil {
		return 0, false
	}
	i, ok := f.names[name]
	return i, ok
}

// fieldNo is FieldNo for a name in bytes.
func (f *Format) fieldNo(name []byte) (int, bool) {
	if f == nil {
		return 0, false
	}
	i, ok := f.names[string(name)]
	return i, ok
}

// Validate checks that tup is one well-formed array which fits the format. Errors: 20, 22, 23, 38, 39.
func (f *Format) Validate(tup []byte) error {
	if len(tup) == 0 {
		return errBody()
	}
	if msgpack.TypeOf(tup[0]) != msgpack.TypeArray {
		return errcode.New(errcode.TupleNotArray)
	}
	n, b, err := msgpack.ReadArrayLen(tup)
	if err != nil {
		return errBody()
	}
	if f.exactCount != 0 && uint32(n) != f.exactCount && len(f.rules) > 0 {
		return errcode.New(errcode.ExactFieldCount, n, f.exactCount)
	}
	for i := range n {
		rest, err := msgpack.Skip(b)
		if err != nil {
			return errBody()
		}
		if i < len(f.rules) && f.rules[i].mask>>msgpack.TypeOf(b[0])&1 == 0 && kindBit(b)&f.rules[i].mask == 0 {
			return f.mismatch(i)
		}
		if f.paths != nil && f.paths[i] != nil {
			if err := f.paths[i].checkTypes(b); err != nil {
				return err
			}
		}
		b = rest
	}
	if len(b) != 0 {
		return errBody()
	}
	if n < f.required {
		return f.missing(n)
	}
	if f.leaves != nil {
		return f.checkLeaves(tup)
	}
	return nil
}

func (f *Format) mismatch(i int) error {
	return errcode.New(errcode.FieldType, strconv.Itoa(i+1), f.rules[i].kind)
}

// missing names the first field that is required and not among the n there.
func (f *Format) missing(n int) error {
	for i := n; i < len(f.rules); i++ {
		if !f.rules[i].nullable() && f.paths[i] == nil {
			return errcode.New(errcode.FieldMissing, strconv.Itoa(i+1))
		}
	}
	return nil
}

// Admits reports whether every tuple that fits other is sure to fit f, so that none has to be looked at. It may say no
// where that is so: formats with index parts inside of fields are not compared.
func (f *Format) Admits(other *Format) bool {
	if len(f.rules) == 0 {
		return true
	}
	count := uint32(0) // of fields, if other fixes it
	if len(other.rules) > 0 {
		count = other.exactCount
	}
	switch {
	case f.paths != nil:
		return false
	case f.exactCount != 0 && f.exactCount != count:
		return false
	case f.required > max(other.required, int(count)):
		return false
	}
	for i, r := range f.rules {
		given := Any.mask()
		if i < len(other.rules) {
			given = other.rules[i].mask
			if other.paths[i] != nil {
				given |= bitNil
			}
		}
		if given&^r.mask != 0 {
			return false
		}
	}
	return true
}
