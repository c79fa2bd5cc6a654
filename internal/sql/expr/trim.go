package expr

import "bytes"

// The sides from which TRIM takes characters away.
const (
	trimLeading  = 1
	trimTrailing = 2
	trimBoth     = trimLeading | trimTrailing
)

// trim is called with a string; with a side or with characters before it; or with both.
func trim(c *call) (Value, error) {
	last := c.args[max(len(c.args)-1, 0)]
	sides := int32(trimBoth)
	set := [][]byte{{' '}}
	switch len(c.args) {
	case 1:
		if last.isBlob() {
			set[0][0] = 0
		}
	case 2:
		if first := c.args[0]; first.isInteger() {
			sides = first.small()
		} else if set = charactersOf(first); first.null() {
			return null, nil
		}
	case 3:
		sides, set = c.args[0].small(), charactersOf(c.args[1])
		if c.args[1].null() {
			return null, nil
		}
	default:
		return wrongCount("TRIM", "1 or 2 or 3", len(c.args))
	}
	if last.null() {
		return null, nil
	}
	s := last.raw()
	if sides&trimLeading != 0 {
		s = cutAway(s, set, bytes.CutPrefix)
	}
	if sides&trimTrailing != 0 {
		s = cutAway(s, set, bytes.CutSuffix)
	}
	return text(s), nil
}

func charactersOf(v Value) (set [][]byte) {
	s := v.raw()
	for at := 0; at < len(s); {
		end := advance(s, at)
		set = append(set, s[at:end])
		at = end
	}
	return set
}

// cutAway cuts characters of a set off a string as long as it has them.
func cutAway(s []byte, set [][]byte, cut func(s, c []byte) ([]byte, bool)) []byte {
	for len(s) > 0 {
		found := false
		for _, c := range set {
			if s, found = cut(s, c); found {
				break
			}
		}
		if !found {
			break
		}
	}
	return s
}
