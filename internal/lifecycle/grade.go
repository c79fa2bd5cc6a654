package lifecycle

import "fmt"

// GradeName is what the cluster has made of an instance.
type GradeName uint8

// The grades, as in earlier versions of Picodata, in the order in which the governor takes an instance through them.
const (
	Offline GradeName = iota
	RaftSynced
	Replicated
	ShardingInitialized
	Online
	Expelled
	gradeCount
)

var gradeNames = [gradeCount]string{"Offline", "RaftSynced", "Replicated", "ShardingInitialized", "Online", "Expelled"}

// Grade is a grade with its incarnation: how many times the instance has asked to come Online. A grade of an older
// incarnation than the target's is about an earlier life of the process.
type Grade struct {
	Name        GradeName `json:"name"`
	Incarnation uint64    `json:"incarnation"`
}

// String returns for example "Online(1)".
func (g Grade) String() string { return fmt.Sprintf("%s(%d)", g.Name, g.Incarnation) }

// Grades returns all grades, in the order of their way up, Expelled last.
func Grades() []GradeName {
	return []GradeName{Offline, RaftSynced, Replicated, ShardingInitialized, Online, Expelled}
}

// Targets returns the grades that may be asked for.
func Targets() []GradeName { return []GradeName{Offline, Online, Expelled} }

// GradeAllowed reports whether the current grade of an instance may change from one value to the other: one step up
// within an incarnation; the first step of a newer incarnation from anywhere; down to Offline from anywhere; and
// Expelled, which nothing leaves. An incarnation never decreases.
func GradeAllowed(from, to Grade) bool {
	if from.Name >= gradeCount || to.Name >= gradeCount || from.Name == Expelled || to.Incarnation < from.Incarnation {
		return false
	}
	switch to.Name {
	case Expelled:
		return true
	case Offline:
		return from.Name != Offline
	case RaftSynced:
		return to.Incarnation > from.Incarnation || from.Name == Offline
	default:
		return to.Incarnation == from.Incarnation && to.Name == from.Name+1
	}
}

// TargetAllowed reports whether the target grade may change from one value to the other: Online again is a new
// incarnation, everything else keeps it, and nothing leaves Expelled.
func TargetAllowed(from, to Grade) bool {
	if !contains(Targets(), from.Name) || !contains(Targets(), to.Name) || from.Name == Expelled {
		return false
	}
	if to.Name == Online {
		return to.Incarnation == from.Incarnation+1
	}
	return to.Incarnation == from.Incarnation && to.Name != from.Name
}

// String returns the name as it stands in the catalog.
func (g GradeName) String() string {
	if g < gradeCount {
		return gradeNames[g]
	}
	return fmt.Sprintf("GradeName(%d)", uint8(g))
}

// ParseGradeName is the inverse of String.
func ParseGradeName(name string) (GradeName, error) {
	for i, n := range gradeNames {
		if n == name {
			return GradeName(i), nil
		}
	}
	return 0, fmt.Errorf("lifecycle: %q is not a grade", name)
}

// MarshalText writes the name.
func (g GradeName) MarshalText() ([]byte, error) {
	if g >= gradeCount {
		return nil, fmt.Errorf("lifecycle: %s is not a grade", g)
	}
	return []byte(gradeNames[g]), nil
}

// UnmarshalText reads a name.
func (g *GradeName) UnmarshalText(b []byte) error {
	v, err := ParseGradeName(string(b))
	if err == nil {
		*g = v
	}
	return err
}
