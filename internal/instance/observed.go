package instance

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/issue"
)

// observed remembers what the issues are made of and what no document holds.
type observed struct {
	mu           sync.Mutex // guards everything below
	gradesSince  time.Time
	leaders      map[string]issue.Group
	fullSince    map[string]time.Time
	checkpoint   string
	checkpointAt time.Time
	unclean      string
	uncleanAt    time.Time
	// schemaChange is the version of the change of the schema that is under way, 0 for none.
	schemaChange uint64
	schemaSince  time.Time
}

// schema notes which change of the schema is under way.
func (o *observed) schema(version uint64, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if version != o.schemaChange {
		o.schemaChange, o.schemaSince = version, now
	}
}

// Emit takes an event.
func (o *observed) Emit(e event.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch e := e.(type) {
	case event.GradeChanged:
		o.gradesSince = e.At
	case event.LeaderChanged:
		if o.leaders == nil {
			o.leaders = map[string]issue.Group{}
		}
		o.leaders[e.Group] = issue.Group{Name: e.Group, HasLeader: e.Leader != 0, Since: e.At}
	case event.CheckpointDone:
		o.checkpoint, o.checkpointAt = e.Failure, e.At
	case event.LogDamaged:
		if e.LostEntries > 0 {
			o.unclean = fmt.Sprintf("the log of group %s lost %d committed entries in an unclean stop: it was written without sync",
				e.Group, e.LostEntries)
			o.uncleanAt = e.At
		}
	case event.LogUnsure:
		if o.unclean == "" {
			o.unclean, o.uncleanAt = "the log of group "+e.Group+" was not synced before an unclean stop (--wal-mode "+e.Mode+
				"), so that acknowledged rows may be gone from it; this replica "+e.Outcome, e.At
		}
	case event.DiskFull:
		if o.fullSince == nil {
			o.fullSince = map[string]time.Time{}
		}
		if e.Full {
			o.fullSince[e.Group] = e.At
		} else {
			delete(o.fullSince, e.Group)
		}
	}
}

// fill completes an observation.
func (o *observed) fill(in *issue.Instance) {
	o.mu.Lock()
	defer o.mu.Unlock()
	in.GradesSince = o.gradesSince
	for _, name := range slices.Sorted(maps.Keys(o.leaders)) {
		in.Groups = append(in.Groups, o.leaders[name])
	}
	for _, since := range o.fullSince {
		if in.DiskFullSince.IsZero() || since.Before(in.DiskFullSince) {
			in.DiskFullSince = since
		}
	}
	in.CheckpointFailure, in.CheckpointSince = o.checkpoint, o.checkpointAt
	in.UncleanLog, in.UncleanAt = o.unclean, o.uncleanAt
	in.SchemaChange, in.SchemaSince = o.schemaChange, o.schemaSince
}
