package governor

import "github.com/lycosadb/lycosa/internal/lifecycle"

// planOnline ends the way up. It does not wait for the roles: readiness does that.
func planOnline(s subject, _ *Report) (*Step, string) {
	if s.stands(lifecycle.ShardingInitialized) {
		return s.setGrade(lifecycle.Online), ""
	}
	if s.row.Target.Name == lifecycle.Expelled && s.row.Current.Name != lifecycle.Expelled {
		return nil, "waiting to be expelled, which needs an operator on this version: its replicaset is not drained by itself"
	}
	return nil, ""
}
