package datadir

import (
	"fmt"
	"strconv"
	"strings"
)

// A forced recovery makes a new cluster of the files of a survivor. It writes the new files of both groups beside the old ones
// first, under names that begin with the new epoch; then the identity with that epoch, which decides at one stroke; and
// then gives the new files their names. What is found of the first kind belongs to the epoch of the identity, or it is left of
// a recovery that did not come to its identity, and means nothing.

// RecoveredOld, behind the prefix of an epoch, is the name of an empty file in the directory of a group: as long as it is
// there, the files without a prefix are those of the epoch before.
const RecoveredOld = "old"

// RecoveredPrefix begins the names of files that a forced recovery has written for an epoch.
func RecoveredPrefix(epoch uint64) string { return fmt.Sprintf("epoch-%d-", epoch) }

// ParseRecovered takes the name of such a file apart: the epoch that it was written for, and its name there. ok is false if
// it is another file.
func ParseRecovered(name string) (epoch uint64, rest string, ok bool) {
	tail, ok := strings.CutPrefix(name, "epoch-")
	if !ok {
		return 0, "", false
	}
	digits, rest, ok := strings.Cut(tail, "-")
	epoch, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || rest == "" || name != RecoveredPrefix(epoch)+rest {
		return 0, "", false
	}
	return epoch, rest, true
}
