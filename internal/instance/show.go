package instance

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/httpd"
	"github.com/lycosadb/lycosa/internal/issue"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

var errStop = errors.New("stop")

// namedStatus is a group's status with the group's name.
type namedStatus struct {
	name string
	raftgroup.Status
}

// groups are both groups, once they run.
func (c *core) groups() []namedStatus {
	var all []namedStatus
	if c.catalogLoop != nil {
		all = append(all, namedStatus{catalogName, c.catalogLoop.Status()})
	}
	if c.dataLoop != nil {
		all = append(all, namedStatus{dataName, c.dataLoop.Status()})
	}
	return all
}

// uptime is the time since this process entered its first state.
func (i *Instance) uptime() time.Duration {
	if h := i.life.history(); len(h) > 0 {
		for _, r := range h {
			if r.PID == os.Getpid() {
				return i.clock.Wall().Sub(r.At)
			}
		}
	}
	return 0
}

// Instance is the document of /api/v1/instance.
func (i *Instance) Instance() httpd.Instance {
	doc := httpd.Instance{ClusterName: httpd.Text(i.cfg.ClusterName), Version: httpd.Text(i.version), PID: os.Getpid(),
		Name: httpd.Text(i.cfg.InstanceName)}
	doc.SetPublished(i.life.published())
	if id := i.identity.Load(); id != nil {
		doc.Name, doc.InstanceUUID = httpd.Text(id.InstanceName), httpd.Text(id.InstanceUUID)
		doc.ClusterName, doc.ClusterUUID = httpd.Text(id.ClusterName), httpd.Text(id.ClusterUUID)
		doc.Replicaset = httpd.Named{Name: httpd.Text(id.ReplicasetName), UUID: httpd.Text(id.ReplicasetUUID)}
	}
	c := i.core.Load()
	if c == nil {
		return doc
	}
	view := c.catalog.View()
	if row, ok := view.Instance(c.id.InstanceName); ok {
		doc.Grade = httpd.Grades{Current: httpd.GradeOf(row.Current), Target: httpd.GradeOf(row.Target)}
	}
	g := c.engine.Memory()
	doc.Memory = httpd.Memory{QuotaBytes: &g.QuotaBytes, UsedBytes: &g.UsedBytes}
	doc.SchemaChanges = c.schemaChanges()
	for _, s := range c.groups() {
		doc.Groups = append(doc.Groups, httpd.Group{
			Name: httpd.Text(s.name), RaftID: httpd.RaftID(s.ID), Role: httpd.Text(s.Role), Term: s.Term,
			Committed: s.Committed, Applied: s.Applied, LeaderRaftID: httpd.RaftID(s.LeaderID), Voters: s.Voters, Learners: s.Learners,
		})
		if row, ok := view.InstanceByRaftID(c.book.raftID(s.LeaderID)); ok && s.name == dataName {
			doc.Leader = httpd.Leader{Name: httpd.Text(row.Name), Address: httpd.Text(c.book.of(wire.GroupCatalog, row.RaftID))}
		}
	}
	return doc
}

// Lifecycle returns the history.
func (i *Instance) Lifecycle() []lifecycle.Record { return i.life.history() }

// Cluster is the document of /api/v1/cluster.
func (i *Instance) Cluster() (httpd.Cluster, bool) {
	c := i.core.Load()
	if c == nil || i.life.published().Stage != lifecycle.Postjoin {
		return httpd.Cluster{}, false
	}
	view := c.catalog.View()
	doc := httpd.Cluster{ClusterName: httpd.Text(c.id.ClusterName), ClusterUUID: httpd.Text(c.id.ClusterUUID),
		Issues: httpd.IssuesOf(i.issues(c))}
	leader := c.catalogLoop.Status().LeaderID
	for _, row := range view.Instances() {
		doc.Instances = append(doc.Instances, i.clusterInstance(c, view, row, leader))
	}
	for _, r := range view.Replicasets() {
		weight := r.Weight
		doc.Replicasets = append(doc.Replicasets, httpd.ClusterReplicaset{Name: httpd.Text(r.Name), UUID: httpd.Text(r.UUID),
			Tier: httpd.Text(r.Tier), Leader: httpd.Text(r.CurrentMaster), State: httpd.Text(r.State), Weight: &weight})
	}
	for _, t := range view.Tiers() {
		doc.Tiers = append(doc.Tiers, httpd.Tier{Name: httpd.Text(t.Name), ReplicationFactor: t.ReplicationFactor,
			CanVote: t.CanVote, WALMode: httpd.Text(view.WALMode(t.Name)), BucketCount: t.BucketCount})
	}
	return doc, true
}

func (i *Instance) clusterInstance(c *core, view *catalog.State, row catalog.Instance, leader uint64) httpd.ClusterInstance {
	doc := httpd.ClusterInstance{
		Name: httpd.Text(row.Name), InstanceUUID: httpd.Text(row.UUID), RaftID: httpd.RaftID(row.RaftID),
		Address:     httpd.Text(view.PeerAddress(row.RaftID, catalog.ConnIproto)),
		HTTPAddress: httpd.Text(view.PeerAddress(row.RaftID, catalog.ConnHTTP)),
		Replicaset:  httpd.Text(row.ReplicasetName), Tier: httpd.Text(row.Tier), FailureDomain: row.FailureDomain,
		Grade: httpd.Grades{Current: httpd.GradeOf(row.Current), Target: httpd.GradeOf(row.Target)}, IsLeader: row.RaftID == leader,
	}
	if row.Name == c.id.InstanceName {
		p, now := i.life.published(), i.clock.Wall()
		data := c.dataLoop.Status()
		lag := data.Committed - min(data.Applied, data.Committed)
		doc.State, doc.LagEntries, doc.LastSeen = &p.State, &lag, httpd.Time{Time: now}
	} else if r, at, known := c.reports.of(row.RaftID); known {
		lag := r.Data.Committed - min(r.Data.Applied, r.Data.Committed)
		doc.State, doc.LagEntries, doc.LastSeen = &r.State, &lag, httpd.Time{Time: at}
	}
	return doc
}

// issues are what someone should look at now.
func (i *Instance) issues(c *core) []issue.Issue {
	now := i.clock.Wall()
	p := i.life.published()
	g := c.engine.Memory()
	in := issue.Instance{Name: c.id.InstanceName, Published: p, MemoryQuotaBytes: g.QuotaBytes, MemoryUsedBytes: g.UsedBytes}
	if row, ok := c.catalog.View().Instance(c.id.InstanceName); ok {
		in.Current, in.Target = row.Current, row.Target
	}
	i.observed.fill(&in)
	if lost, failing := i.audit.Failure(); failing {
		in.AuditFailure = fmt.Sprintf("%d records could not be written to %s", lost, i.cfg.AuditPath())
	}
	replicasets := replicasetsOf(c.catalog.View())
	for n := range replicasets {
		if replicasets[n].Name == c.id.ReplicasetName {
			replicasets[n].Smaller = c.smaller(c.catalog.View())
		}
	}
	return issue.Find(now, []issue.Instance{in}, replicasets)
}

// replicasetsOf counts the replicas of the replicasets that are to stay.
func replicasetsOf(view *catalog.State) (all []issue.Replicaset) {
	for _, rs := range view.Replicasets() {
		if rs.State == catalog.ReplicasetToBeExpelled || rs.State == catalog.ReplicasetExpelled {
			continue
		}
		count := issue.Replicaset{Name: rs.Name}
		for _, row := range view.InstancesOf(rs.Name) {
			if row.Target.Name != lifecycle.Expelled && row.Current.Name != lifecycle.Expelled {
				count.Replicas++
			}
		}
		all = append(all, count)
	}
	return all
}

// Governor is the document of /api/v1/governor.
func (i *Instance) Governor() (httpd.Governor, bool) {
	c := i.core.Load()
	if c == nil || c.governor == nil || i.life.published().Stage != lifecycle.Postjoin {
		return httpd.Governor{}, false
	}
	r := c.governor.Report()
	doc := httpd.Governor{Leader: httpd.Text(r.Leader), Term: r.Term, LastError: httpd.Text(r.LastError)}
	for _, s := range r.Steps {
		doc.Steps = append(doc.Steps, httpd.Report{Subject: httpd.Text(s.Subject), Text: httpd.Text(s.Text), Since: httpd.Time{Time: s.Since}})
	}
	for _, w := range r.Waiting {
		doc.Waiting = append(doc.Waiting, httpd.Report{Subject: httpd.Text(w.Subject), Text: httpd.Text(w.Text), Since: httpd.Time{Time: w.Since}})
	}
	return doc, true
}

// grade is the current grade, nil while it is not known.
func (i *Instance) grade() *lifecycle.Grade {
	c := i.core.Load()
	if c == nil {
		return nil
	}
	row, ok := c.catalog.View().Instance(c.id.InstanceName)
	if !ok {
		return nil
	}
	return &row.Current
}

// Health is what the health endpoints answer from.
func (i *Instance) Health() httpd.Health {
	if !i.confirmed.Load() {
		return httpd.HealthOf(i.life.published(), nil) // the grade on record may be that of the time before a crash
	}
	return httpd.HealthOf(i.life.published(), i.grade())
}

// Sample is what a scrape of the metrics gets.
func (i *Instance) Sample() httpd.Sample {
	s := httpd.Sample{Published: i.life.published(), Grade: i.grade()}
	stats := i.server.Stats()
	s.Connections = uint64(max(stats.Connections, 0))
	s.Refused, s.InFlight, s.QueuedBytes = stats.Refused, uint64(stats.InFlight), uint64(stats.Queued)
	s.Cut = []httpd.CutSample{{Reason: "slow", Count: stats.CutSlow}, {Reason: "late", Count: stats.CutLate},
		{Reason: "protocol", Count: stats.CutProtocol}}
	for name, n := range stats.Requests {
		s.Requests = append(s.Requests, httpd.RequestSample{Type: name, Count: n})
	}
	c := i.core.Load()
	if c == nil {
		return s
	}
	g := c.engine.Memory()
	s.Memory = &httpd.MemorySample{QuotaBytes: g.QuotaBytes, UsedBytes: g.UsedBytes}
	s.SchemaChanges = c.schemaChanges()
	i.sampleCluster(c, &s)
	return s
}
