package instance

import (
	"time"

	"github.com/lycosadb/lycosa/internal/httpd"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	raftrunner "github.com/lycosadb/lycosa/internal/raftgroup/runner"
)

// sampleCluster adds groups, governor and calls to other instances to a sample.
func (i *Instance) sampleCluster(c *core, s *httpd.Sample) {
	s.Identity = httpd.IdentitySample{Name: c.id.InstanceName, Cluster: c.id.ClusterName, Replicaset: c.id.ReplicasetName, Tier: c.id.Tier}
	if c.catalogLoop != nil {
		commit, apply := c.catalogLoop.Latencies()
		s.Groups = append(s.Groups, groupSample(catalogName, c.catalogLoop.Status(), commit, apply))
	}
	if c.dataLoop != nil {
		commit, apply := c.dataLoop.Latencies()
		s.Groups = append(s.Groups, groupSample(dataName, c.dataLoop.Status(), commit, apply))
	}
	if c.governor != nil {
		r := c.governor.Report()
		done, failed := c.governor.Steps()
		s.Governor = &httpd.GovernorSample{Done: done, Failed: failed}
		if r.Leader == c.id.InstanceName { // elsewhere it waits for nothing but its turn
			s.Governor.Active, s.Governor.Steps, s.Governor.Waiting, s.Governor.Troubled = true, len(r.Steps), len(r.Waiting), r.LastError != ""
		}
	}
	if i.pool == nil {
		return
	}
	for _, n := range i.pool.Counts() {
		s.RPC = append(s.RPC, httpd.RPCSample{Procedure: n.Procedure, Answered: n.Answered, Refused: n.Refused, Lost: n.Lost,
			Seconds: n.Waited.Seconds()})
	}
	s.Peers = &httpd.PeersSample{}
	for _, p := range i.pool.Status() {
		if p.Connected {
			s.Peers.Connected++
		} else if p.Failures > 0 {
			s.Peers.Failing++
		}
	}
}

func groupSample(name string, g raftgroup.Status, commit, apply raftrunner.Latency) httpd.GroupSample {
	return httpd.GroupSample{Name: name, Term: g.Term, Committed: g.Committed, Applied: g.Applied, LastIndex: g.LastIndex,
		IsLeader: g.LeaderID == g.ID, HasLeader: g.LeaderID != 0, Role: string(g.Role), Voters: len(g.Voters), Learners: len(g.Learners),
		Commit: latencySample(commit), Apply: latencySample(apply)}
}

func latencySample(l raftrunner.Latency) httpd.LatencySample {
	return httpd.LatencySample{Count: l.Count, Sum: l.Sum.Seconds(), Buckets: inSeconds(l.Buckets)}
}

func inSeconds(buckets map[time.Duration]uint64) map[float64]uint64 {
	all := make(map[float64]uint64, len(buckets))
	for bound, n := range buckets {
		all[bound.Seconds()] = n
	}
	return all
}
