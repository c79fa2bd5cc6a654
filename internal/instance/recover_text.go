package instance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/datadir"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// known tells an operator what this directory knows of the cluster, and what is kept and lost.
func (s *survivor) known() string {
	var b strings.Builder
	row, _ := s.state.InstanceByUUID(s.id.InstanceUUID)
	fmt.Fprintf(&b, "Cluster %s (%s), epoch %d. The survivor is %s, the instance of this directory.\n\n", s.id.ClusterName, s.id.ClusterUUID,
		s.id.Epoch, s.id.InstanceName)
	b.WriteString("Instances:\n")
	for _, i := range s.state.Instances() {
		if i.Current.Name == lifecycle.Expelled {
			continue
		}
		note := ""
		if i.UUID == s.id.InstanceUUID {
			note = ", the survivor"
		}
		fmt.Fprintf(&b, "  %s at %s, replicaset %s, raft ids %d and %d%s\n", i.Name, s.state.PeerAddress(i.RaftID, catalog.ConnIproto),
			i.ReplicasetName, i.RaftID, i.DataRaftID, note)
	}
	b.WriteString("\nGroups, as far as this directory knows:\n")
	s.ofCatalog.tell(&b, "catalog")
	s.ofData.tell(&b, "data of replicaset "+row.ReplicasetName)
	s.tellCost(&b, row)
	return b.String()
}

func (e groupEnd) tell(b *strings.Builder, name string) {
	fmt.Fprintf(b, "  %s: last entry %d of term %d, committed at least up to %d; voters: raft ids %s\n", name, e.index, e.term, e.committed,
		strings.Trim(fmt.Sprint(slices.Sorted(slices.Values(e.voters))), "[]"))
	if e.short > 0 {
		fmt.Fprintf(b, "    %d entries behind the last one were committed and are missing here\n", e.short)
	}
}

func (s *survivor) tellCost(b *strings.Builder, own catalog.Instance) {
	fmt.Fprintf(b, "\nKept: everything that is here, %s and %s that may never have been committed included.\n",
		countEntries(s.ofCatalog.index-s.ofCatalog.committed, "catalog"), countEntries(s.ofData.index-s.ofData.committed, "data"))
	if s.schemaFromRows {
		b.WriteString("Kept: the spaces, indexes, sequences and constraints as the rows here have them. The catalog here is older, and is corrected.\n")
	}
	fmt.Fprintf(b, "Lost: what only others have: entries of the catalog behind %d, rows of replicaset %s behind entry %d, be they acknowledged or not.\n",
		s.ofCatalog.index, own.ReplicasetName, s.ofData.index)
	for _, rs := range s.state.Replicasets() {
		var names []string
		for _, i := range s.state.InstancesOf(rs.Name) {
			if i.Current.Name != lifecycle.Expelled {
				names = append(names, i.Name)
			}
		}
		if rs.Name != own.ReplicasetName && len(names) > 0 {
			fmt.Fprintf(b, "Lost: all rows of replicaset %s (%s): none of them is here.\n", rs.Name, strings.Join(names, ", "))
		}
	}
	fmt.Fprintf(b, "\nAfterwards %s is the whole cluster, in epoch %d. The other instances must not run now; their directories are refused for\n"+
		"ever, and they come back empty, by lycosa replace NAME.\n", s.id.InstanceName, s.next.Epoch)
}

func countEntries(n uint64, of string) string {
	if n == 1 {
		return "1 entry of the " + of
	}
	return fmt.Sprintf("%d entries of the %s", n, of)
}

// recovered tells that a cluster was made anew.
func recovered(id datadir.Identity) string {
	return fmt.Sprintf("cluster %s is instance %s alone now, in epoch %d; start it with lycosa run. The others come back on empty directories, each by "+
		"lycosa replace NAME and lycosa run --instance-name NAME", id.ClusterName, id.InstanceName, id.Epoch)
}
