package expr

import (
	"strings"

	"github.com/lycosadb/lycosa/internal/tuple"
)

// function is one that expressions may call.
type function struct {
	// arguments is how many there must be, -1 any number; fewest is for that case.
	arguments, fewest int
	returns           tuple.FieldType
	// coalesce gives the first value that is not NULL and computes no more than that; first gives the first argument.
	coalesce, first bool
	// collates needs one collation for all arguments; derives tells that the result has that of the first one.
	collates, derives bool
	run               func(c *call) (Value, error)
}

// call is a function with its computed arguments.
type call struct {
	args  []Value
	order func(a, b []byte) int
}

// functions are those of version 2.6 which depend on their arguments alone, but for PRINTF.
var functions = map[string]*function{
	"ABS":              {arguments: 1, returns: tuple.Number, run: absolute},
	"CHAR":             {arguments: -1, returns: tuple.String, run: characters},
	"CHARACTER_LENGTH": {arguments: 1, returns: tuple.Integer, run: length},
	"CHAR_LENGTH":      {arguments: 1, returns: tuple.Integer, run: length},
	"COALESCE":         {arguments: -1, fewest: 2, returns: tuple.Scalar, coalesce: true},
	"GREATEST":         {arguments: -1, returns: tuple.Scalar, collates: true, run: greatest},
	"HEX":              {arguments: 1, returns: tuple.String, run: hexadecimal},
	"IFNULL":           {arguments: 2, returns: tuple.Integer, coalesce: true},
	"LEAST":            {arguments: -1, returns: tuple.Scalar, collates: true, run: least},
	"LENGTH":           {arguments: 1, returns: tuple.Integer, run: length},
	"LIKE":             {arguments: -1, returns: tuple.Integer, collates: true, run: like},
	"LIKELIHOOD":       {arguments: 2, returns: tuple.Boolean, first: true},
	"LIKELY":           {arguments: 1, returns: tuple.Boolean, first: true},
	"LOWER":            {arguments: 1, returns: tuple.String, collates: true, derives: true, run: lowerCase},
	"NULLIF":           {arguments: 2, returns: tuple.Scalar, collates: true, run: nullIf},
	"POSITION":         {arguments: 2, returns: tuple.Integer, collates: true, run: position},
	"QUOTE":            {arguments: 1, returns: tuple.String, run: quote},
	"REPLACE":          {arguments: 3, returns: tuple.String, derives: true, run: replace},
	"ROUND":            {arguments: -1, returns: tuple.Integer, run: round},
	"SOUNDEX":          {arguments: 1, returns: tuple.String, run: soundex},
	"SUBSTR":           {arguments: -1, returns: tuple.String, derives: true, run: substring},
	"TRIM":             {arguments: -1, returns: tuple.String, derives: true, run: trim},
	"TYPEOF":           {arguments: 1, returns: tuple.String, run: typeOf},
	"UNICODE":          {arguments: 1, returns: tuple.String, run: unicodePoint},
	"UNLIKELY":         {arguments: 1, returns: tuple.Boolean, first: true},
	"UPPER":            {arguments: 1, returns: tuple.String, collates: true, derives: true, run: upperCase},
	"ZEROBLOB":         {arguments: 1, returns: tuple.Varbinary, run: zeros},
}

// aggregates, hidden and missing are the functions of version 2.6 that no constraint can have: there because of what they
// are, or because SQL does not see them; and here because their results do not follow from the row, or are not made.
var (
	aggregates = set("AVG COUNT GROUP_CONCAT MAX MIN SUM TOTAL")
	hidden     = set(`CEIL CEILING CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP DATE DATETIME EVERY EXISTS EXP EXTRACT FLOOR
		GREATER JULIANDAY LESSER LN MOD OCTET_LENGTH POWER SOME SQRT STRFTIME TIME _sql_stat_get _sql_stat_init
		_sql_stat_push`)
	missing = set("PRINTF RANDOM RANDOMBLOB ROW_COUNT VERSION")
)

func set(words string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

// call computes a function.
func (m *machine) call(t *term) (Value, error) {
	f := t.function
	if f.first {
		return m.value(t.list[0])
	}
	if f.coalesce {
		return m.coalesce(t.list)
	}
	var room [4]Value
	c := call{args: room[:0]}
	for _, x := range t.list {
		v, err := m.value(x)
		if err != nil {
			return null, err
		}
		c.args = append(c.args, v)
	}
	if f.collates && len(t.orders) > 0 {
		c.order = t.orders[0]
	}
	return f.run(&c)
}

func (m *machine) coalesce(list []*term) (Value, error) {
	v := null
	for _, x := range list {
		var err error
		if v, err = m.value(x); err != nil || !v.null() {
			return v, err
		}
	}
	return v, nil
}
