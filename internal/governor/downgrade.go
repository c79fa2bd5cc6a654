package governor

import "github.com/lycosadb/lycosa/internal/lifecycle"

// planDowngrade records Offline for an instance that asked for it or was marked so. It needs no answer from the instance.
func planDowngrade(s subject, _ *Report) (*Step, string) {
	if s.row.Target.Name != lifecycle.Offline || s.row.Current.Name == lifecycle.Expelled ||
		s.row.Current.Name == lifecycle.Offline {
		return nil, ""
	}
	return s.setGrade(lifecycle.Offline), ""
}
