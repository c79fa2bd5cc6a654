package governor

import "github.com/lycosadb/lycosa/internal/lifecycle"

// planOnline ends the way up. It does not wait for the roles: readiness does that.
func planOnline(s subject, _ *Report) (*Step, string) {
	if s.stands(lifecycle.ShardingInitialized) {
		return s.setGrade(lifecycle.Online), ""
	}
	return nil, ""
}
