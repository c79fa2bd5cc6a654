package governor

import (
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// planSharding waits until the instance has the sharding configuration of its tier.
func planSharding(s subject, _ *Report) (*Step, string) {
	if !s.stands(lifecycle.Replicated) {
		return nil, ""
	}
	if !s.obs.Sharding {
		return nil, "waiting for the sharding configuration of tier " + s.row.Tier
	}
	return s.setGrade(lifecycle.ShardingInitialized, catalog.Eq(catalog.TableTier, catalog.Key(s.row.Tier))), ""
}
