package lifecycle

import "testing"

// Every pair of grades, within an incarnation, into a newer one and back into an older one.
func TestGradesOverAllPairs(t *testing.T) {
	up := map[GradeName]GradeName{
		Offline: RaftSynced, RaftSynced: Replicated, Replicated: ShardingInitialized, ShardingInitialized: Online,
	}
	for _, from := range Grades() {
		for _, to := range Grades() {
			next, has := up[from]
			alive := from != Expelled
			same := alive && (has && next == to || to == Expelled || to == Offline && from != Offline)
			newer := alive && (to == RaftSynced || to == Expelled || to == Offline && from != Offline)
			for _, c := range []struct {
				incarnation uint64
				want        bool
			}{{5, same}, {6, newer}, {4, false}} {
				if got := GradeAllowed(Grade{from, 5}, Grade{to, c.incarnation}); got != c.want {
					t.Errorf("%s(5) -> %s(%d): allowed is %v", from, to, c.incarnation, got)
				}
			}
		}
	}
	if GradeAllowed(Grade{9, 1}, Grade{Online, 1}) || GradeAllowed(Grade{Offline, 1}, Grade{9, 1}) {
		t.Error("a grade that does not exist is allowed")
	}
}

func TestTargetsOverAllPairs(t *testing.T) {
	for _, from := range Grades() {
		for _, to := range Grades() {
			targets := (from == Offline || from == Online) && (to == Offline || to == Online || to == Expelled)
			if got := TargetAllowed(Grade{from, 5}, Grade{to, 5}); got != (targets && to != Online && to != from) {
				t.Errorf("%s(5) -> %s(5): allowed is %v", from, to, got)
			}
			if got := TargetAllowed(Grade{from, 5}, Grade{to, 6}); got != (targets && to == Online) {
				t.Errorf("%s(5) -> %s(6): allowed is %v", from, to, got)
			}
		}
	}
}
