package tuple

import "strings"

// NilAction is what a format or an index part says to do on nil, besides whether nil may be there. Nothing here acts on it:
// as in Tarantool it only has to be the same wherever it is given. The zero value means that it was not given.
type NilAction uint8

// The actions by their places in nilActionNames.
const (
	nilUnset NilAction = iota
	nilNone
	nilRollback
	nilAbort
	nilFail
	nilIgnore
	nilReplace
	nilDefault
	nilUnknown
)

var nilActionNames = [...]string{"", "none", "rollback", "abort", "fail", "ignore", "replace", "default", "(null)"}

func parseNilAction(name string) NilAction {
	for a := nilNone; a < nilUnknown; a++ {
		if strings.EqualFold(nilActionNames[a], name) {
			return a
		}
	}
	return nilUnknown
}

// agrees tells whether the action may stand beside a declaration of what may be nil.
func (a NilAction) agrees(nullable bool) bool { return a == nilUnset || (a == nilNone) == nullable }

// of returns the action that counts.
func (a NilAction) of(nullable bool) NilAction {
	switch {
	case a != nilUnset:
		return a
	case nullable:
		return nilNone
	}
	return nilDefault
}
