package catalog

import (
	"strconv"
	"strings"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// release is what counts of a version when instances of several versions share a cluster.
type release struct{ major, minor uint64 }

// parseRelease reads "1.2", "v1.2.3" and "1.2.3-rc1". What does not begin so is a build from source.
func parseRelease(version string) (release, bool) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return release{}, false
	}
	digits := strings.IndexFunc(parts[1], func(c rune) bool { return c < '0' || c > '9' })
	if digits >= 0 {
		parts[1] = parts[1][:digits]
	}
	major, err1 := strconv.ParseUint(parts[0], 10, 31)
	minor, err2 := strconv.ParseUint(parts[1], 10, 31)
	return release{major, minor}, err1 == nil && err2 == nil
}

// follows reports whether r is the release after other, in the same or at the beginning of the next major one.
func (r release) follows(other release) bool {
	return r.major == other.major && r.minor == other.minor+1 || r.major == other.major+1 && r.minor == 0
}

// checkVersion refuses an instance whose release is neither the lowest of the others nor the one that is being rolled out,
// which may be only the next one. Builds without a release number are not judged.
func (s *State) checkVersion(uuid, version string) error {
	mine, ok := parseRelease(version)
	if !ok {
		return nil
	}
	var low, high release
	known := false
	for _, i := range s.Instances() {
		v, ok := parseRelease(i.Version)
		if !ok || isExpelled(i) || i.UUID == uuid {
			continue
		}
		if !known || v.less(low) {
			low = v
		}
		if !known || high.less(v) {
			high = v
		}
		known = true
	}
	if !known || mine == low || mine == high || low == high && mine.follows(low) {
		return nil
	}
	return errcode.New(errcode.JoinVersion, version, low.String(), high.String())
}

func (r release) less(other release) bool {
	return r.major < other.major || r.major == other.major && r.minor < other.minor
}

// String returns "major.minor".
func (r release) String() string {
	return strconv.FormatUint(r.major, 10) + "." + strconv.FormatUint(r.minor, 10)
}

// PlanClusterVersion raises cluster_version to the lowest version of the instances that are not expelled, once that is a newer
// release: then what the older one does not know may be used. raised is empty if there is nothing to do; an instance that is
// a build from source holds it back.
func PlanClusterVersion(s *State) (op Op, guard Predicate, raised string) {
	now, _ := parseRelease(s.PropertyStr(PropClusterVersion)) // that of a build from source is older than all
	var low release
	for _, i := range s.Instances() {
		if isExpelled(i) {
			continue
		}
		v, ok := parseRelease(i.Version)
		if !ok {
			return Op{}, Predicate{}, ""
		}
		if raised == "" || v.less(low) {
			low, raised = v, i.Version
		}
	}
	if !now.less(low) {
		return Op{}, Predicate{}, ""
	}
	op = Op{Kind: Dml, DML: []DML{{Kind: Replace, Table: TableProperty, Tuple: StrProperty(PropClusterVersion, raised).Row()}}}
	return op, Unchanged(s, Range{Table: TableInstance}), raised
}
