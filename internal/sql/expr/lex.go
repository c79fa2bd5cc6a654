package expr

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is the kind of a token.
type kind uint8

const (
	kEnd kind = iota
	kIllegal
	kSpace
	kNewline
	kSemicolon
	kOpen
	kClose
	kComma
	kDot
	kPlus
	kMinus
	kStar
	kSlash
	kPercent
	kConcat
	kBitAnd
	kBitOr
	kBitNot
	kShiftLeft
	kShiftRight
	kEqual
	kNotEqual
	kLess
	kLessEqual
	kGreater
	kGreaterEqual
	kInteger
	kFloat
	kString
	kBlob
	kVariable
	kID
	kFallback // a keyword that is an identifier where it cannot be a keyword
	kJoin     // a keyword of joins, which an expression may use as a name
	kOr
	kAnd
	kNot
	kIs
	kMatch
	kLike
	kBetween
	kIn
	kEscape
	kCollate
	kNull
	kTrue
	kFalse
	kCase
	kWhen
	kThen
	kElse
	kEndCase
	kCast
	kAs
	kTrim
	kLeading
	kTrailing
	kBoth
	kFrom
	kChar
	kExists
	kSelect // or another word that begins a query
	kDistinct
	kAll
	kRaise
	kType   // the name of a type in CAST
	kClause // a word that goes on with a query
	kOther  // a keyword that no expression has
)

// token is one token of a text.
type token struct {
	kind     kind
	text     string
	reserved bool
	// early tells that the grammar of version 2.6 names the token before its list of fallbacks: see parser.refused.
	early bool
}

// next cuts the first token from a text that is not empty.
func next(s string) token {
	t := token{kind: kIllegal}
	n := 1
	switch c := s[0]; {
	case c == '\n':
		t.kind = kNewline
	case isSpace(c):
		t.kind, n = kSpace, 1+spaces(s[1:])
	case c == '-' && strings.HasPrefix(s, "--"):
		t.kind, n = kSpace, len(s)
		if end := strings.IndexByte(s, '\n'); end >= 0 {
			t.kind, n = kNewline, end+1
		}
	case c == '/' && len(s) > 2 && s[1] == '*':
		t.kind, n = kSpace, len(s)
		if end := strings.Index(s[2:], "*/"); end >= 0 {
			n = end + 4
		}
	case c == '\'' || c == '"':
		t.kind, n = quoted(s)
	case isDigit(c) || c == '.' && len(s) > 1 && isDigit(s[1]):
		t.kind, n = number(s)
	case c == '?':
		t.kind = kVariable
		for n < len(s) && isDigit(s[n]) {
			n++
		}
	case strings.IndexByte("$@#:", c) >= 0:
		for n < len(s) && isName(s[n]) {
			n++
			t.kind = kVariable
		}
	case (c == 'x' || c == 'X') && len(s) > 1 && s[1] == '\'':
		t.kind, n = blob(s)
	case c == '_' || isLetter(c) || c >= utf8.RuneSelf:
		return word(s)
	default:
		t.kind, n = operator(s)
	}
	t.text = s[:n]
	t.early = earlyKinds[t.kind]
	return t
}

func isSpace(c byte) bool  { return c == ' ' || c >= '\t' && c <= '\r' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func isHex(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

// isName tells whether a byte may stand inside a name.
func isName(c byte) bool {
	return c == '_' || c == '$' || isDigit(c) || isLetter(c) || c >= utf8.RuneSelf
}

// spaces counts the bytes of white space at the beginning of a text.
func spaces(s string) int {
	n := 0
	for n < len(s) {
		if isSpace(s[n]) {
			n++
			continue
		}
		if s[n] < utf8.RuneSelf {
			break
		}
		r, size := utf8.DecodeRuneInString(s[n:])
		if !unicode.IsSpace(r) {
			break
		}
		n += size
	}
	return n
}

func quoted(s string) (kind, int) {
	for n := 1; n < len(s); n++ {
		if s[n] != s[0] {
			continue
		}
		if n+1 < len(s) && s[n+1] == s[0] {
			n++
			continue
		}
		if s[0] == '"' {
			return kID, n + 1
		}
		return kString, n + 1
	}
	return kIllegal, len(s)
}

func number(s string) (kind, int) {
	digits := func(n int) int {
		for n < len(s) && isDigit(s[n]) {
			n++
		}
		return n
	}
	if len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x' && isHex(s[2]) {
		n := 3
		for n < len(s) && isHex(s[n]) {
			n++
		}
		return kInteger, n
	}
	k, n := kInteger, digits(0)
	if n < len(s) && s[n] == '.' {
		k, n = kFloat, digits(n+1)
	}
	if n+1 < len(s) && s[n]|0x20 == 'e' {
		e := n + 1
		if (s[e] == '+' || s[e] == '-') && e+1 < len(s) {
			e++
		}
		if isDigit(s[e]) {
			k, n = kFloat, digits(e)
		}
	}
	for n < len(s) && isName(s[n]) {
		k = kIllegal
		n++
	}
	return k, n
}

func blob(s string) (kind, int) {
	n := 2
	for n < len(s) && isHex(s[n]) {
		n++
	}
	k := kBlob
	if n == len(s) || s[n] != '\'' || n%2 != 0 {
		k = kIllegal
		for n < len(s) && s[n] != '\'' {
			n++
		}
	}
	return k, min(n+1, len(s))
}

// word reads a name, a keyword, or white space that is not ASCII.
func word(s string) token {
	n := 0
	for n < len(s) && (s[n] == '_' || isLetter(s[n])) {
		n++
	}
	if n > 0 && (n == len(s) || !isName(s[n]) || spaces(s[n:]) > 0) {
		t, ok := keywords[strings.ToUpper(s[:n])]
		if !ok {
			t.kind = kID
		}
		t.text = s[:n]
		t.early = t.early || earlyKinds[t.kind]
		return t
	}
	if n == 0 {
		if n = spaces(s); n > 0 {
			return token{kind: kSpace, text: s[:n]}
		}
	}
	for n < len(s) && isName(s[n]) {
		n++
	}
	return token{kind: kID, text: s[:n], early: true}
}

func operator(s string) (kind, int) {
	two := ""
	if len(s) > 1 {
		two = s[:2]
	}
	switch two {
	case "==":
		return kEqual, 2
	case "!=", "<>":
		return kNotEqual, 2
	case "<=":
		return kLessEqual, 2
	case ">=":
		return kGreaterEqual, 2
	case "<<":
		return kShiftLeft, 2
	case ">>":
		return kShiftRight, 2
	case "||":
		return kConcat, 2
	}
	if k, ok := operators[s[0]]; ok {
		return k, 1
	}
	return kIllegal, 1
}

var operators = map[byte]kind{
	';': kSemicolon, '(': kOpen, ')': kClose, ',': kComma, '.': kDot, '+': kPlus, '-': kMinus, '*': kStar, '/': kSlash,
	'%': kPercent, '&': kBitAnd, '|': kBitOr, '~': kBitNot, '=': kEqual, '<': kLess, '>': kGreater,
}

var earlyKinds = map[kind]bool{
	kSemicolon: true, kOpen: true, kClose: true, kComma: true, kPlus: true, kMinus: true, kStar: true, kSlash: true,
	kPercent: true, kConcat: true, kBitAnd: true, kBitOr: true, kBitNot: true, kShiftLeft: true, kShiftRight: true,
	kEqual: true, kNotEqual: true, kLess: true, kLessEqual: true, kGreater: true, kGreaterEqual: true, kString: true,
	kID: true, kFallback: true, kOr: true, kAnd: true, kNot: true, kIs: true, kMatch: true, kLike: true, kBetween: true,
	kIn: true, kEscape: true, kCollate: true, kExists: true, kRaise: true, kEndCase: true,
}

var keywords = makeKeywords()

// makeKeywords lists the keywords of version 2.6: by kind, those that are reserved and those that are not.
func makeKeywords() map[string]token {
	m := map[string]token{}
	add := func(k kind, reserved, early bool, words string) {
		for w := range strings.FieldsSeq(words) {
			m[w] = token{kind: k, reserved: reserved, early: early}
		}
	}
	add(kFallback, false, true, `ABORT ACTION ADD AFTER BEFORE CASCADE CONFLICT DEFERRED DISABLE ENGINE FAIL IGNORE INITIALLY
		INSTEAD NO PLAN QUERY KEY OFFSET RESTRICT ENABLE`)
	add(kFallback, true, true, `RELEASE REPLACE RENAME IF`)
	add(kMatch, true, true, `MATCH`)
	add(kRaise, false, true, `RAISE`)
	add(kEndCase, false, true, `END`)
	add(kID, false, true, `INDEXED`)
	add(kID, true, true, `BINARY CHARACTER SMALLINT`)
	add(kJoin, true, false, `CROSS INNER LEFT NATURAL OUTER RIGHT`)
	for w, k := range map[string]kind{"OR": kOr, "AND": kAnd, "NOT": kNot, "IS": kIs, "LIKE": kLike, "BETWEEN": kBetween,
		"IN": kIn, "ESCAPE": kEscape, "COLLATE": kCollate, "NULL": kNull, "UNKNOWN": kNull, "TRUE": kTrue, "FALSE": kFalse,
		"CASE": kCase, "WHEN": kWhen, "THEN": kThen, "ELSE": kElse, "AS": kAs, "TRIM": kTrim, "LEADING": kLeading,
		"TRAILING": kTrailing, "BOTH": kBoth, "FROM": kFrom, "CHAR": kChar, "EXISTS": kExists, "DISTINCT": kDistinct,
		"ALL": kAll} {
		add(k, true, false, w)
	}
	add(kLike, false, true, `REGEXP`)
	add(kCast, false, false, `CAST`)
	add(kSelect, true, false, `SELECT VALUES`)
	add(kSelect, true, true, `WITH`)
	add(kType, true, false, `BOOL BOOLEAN DOUBLE INT INTEGER NUMBER SCALAR STRING TEXT UNSIGNED VARBINARY VARCHAR`)
	add(kClause, true, false, `WHERE GROUP HAVING ORDER UNION EXCEPT INTERSECT`)
	add(kClause, false, false, `LIMIT`)
	add(kOther, false, false, `AUTOINCREMENT DEFERRABLE SESSION`)
	add(kOther, true, true, `COMMIT CREATE EXPLAIN ROLLBACK SAVEPOINT START TABLE TO TRANSACTION`)
	add(kOther, true, false, `ALTER ANALYZE ANY ASC ASENSITIVE BEGIN BLOB BY CALL CHECK COLUMN CONDITION CONNECT CONSTRAINT
		CURRENT CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER CURSOR DATE DATETIME DECIMAL DECLARE DEFAULT DELETE
		DENSE_RANK DESC DESCRIBE DETERMINISTIC DROP EACH ELSEIF FETCH FLOAT FOR FOREIGN FULL FUNCTION GET GRANT IMMEDIATE INDEX
		INOUT INSENSITIVE INSERT INTO ITERATE JOIN LEAVE LOCALTIME LOCALTIMESTAMP LOOP NUM NUMERIC OF ON OUT OVER PARTIAL
		PARTITION PRAGMA PRECISION PRIMARY PROCEDURE RANGE RANK READS REAL RECURSIVE REFERENCES REPEAT RESIGNAL RETURN REVOKE
		ROW ROWS ROW_NUMBER SENSITIVE SET SIGNAL SIMPLE SPECIFIC SQL SYSTEM TRIGGER TRUNCATE UNIQUE UPDATE USER USING VIEW
		WHENEVER WHILE`)
	return m
}
