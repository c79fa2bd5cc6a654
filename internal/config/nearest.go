package config

// Nearest returns the candidate that a mistyped name most likely meant: the one with the fewest edits, if they are few
// enough to be a typing error; the first of equals.
func Nearest(name string, candidates []string) (string, bool) {
	best, bestEdits := "", 1+max(2, len(name)/3)
	if len(name) > nearestBytesMax {
		return "", false
	}
	for _, c := range candidates {
		if e := edits(name, c); e < bestEdits && e < len(c) {
			best, bestEdits = c, e
		}
	}
	return best, best != ""
}

// nearestBytesMax bounds the names compared, which come from outside.
const nearestBytesMax = 128

// edits is the number of insertions, removals, replacements and swaps of neighbours between two names.
func edits(a, b string) int {
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}

// didYouMean is the end of an error sentence about an unknown name.
func didYouMean(name string, candidates []string, prefix string) string {
	if n, ok := Nearest(name, candidates); ok {
		return "; did you mean " + prefix + n + "?"
	}
	return ""
}
