package governor

import "github.com/lycosadb/lycosa/internal/catalog"

// planClusterVersion raises the version of the cluster when the last instance runs a newer release.
func planClusterVersion(in Input) *Step {
	op, guard, raised := catalog.PlanClusterVersion(in.Catalog)
	if raised == "" {
		return nil
	}
	guard.Term = in.Term
	return &Step{Text: "catalog: all instances run " + raised + " or newer: cluster_version is raised", Op: op, Guard: guard}
}
