package governor

import "github.com/lycosadb/lycosa/internal/lifecycle"

// planDowngrade records Offline for an instance that asked for it or was marked so. It needs no answer from the instance.
// The catalog's leader hands over first, if another can lead.
func planDowngrade(s subject, _ *Report) (*Step, string) {
	if s.row.Target.Name != lifecycle.Offline || s.row.Current.Name == lifecycle.Expelled ||
		s.row.Current.Name == lifecycle.Offline {
		return nil, ""
	}
	if s.row.Name == s.in.Leader {
		if to, _ := catalogHeir(s.in); to != "" {
			return nil, "waiting to hand over the catalog to " + to + " before it is Offline"
		}
	}
	return s.setGrade(lifecycle.Offline), ""
}
