package governor

import (
	"fmt"

	"github.com/lycosadb/lycosa/internal/catalog"
)

// planSchema ends the change of the schema that is under way: it is committed when all replicasets have agreed whose rows it
// concerns, and taken back when one refuses, or has had no leader for auto_offline_timeout. A replica that is away does not
// matter: what a leader has agreed to is in the log of its group.
func planSchema(in Input, r *Report) *Step {
	if step := planSettle(in, r); step != nil {
		return step
	}
	p, ok := in.Catalog.PendingSchema()
	if !ok {
		return nil
	}
	if !in.Catalog.MustAgree(p.DDL) {
		return endSchema(in, p, nil)
	}
	agreed := true
	for _, rs := range in.Catalog.Replicasets() {
		if rs.State == catalog.ReplicasetExpelled || rs.State == catalog.ReplicasetToBeExpelled {
			continue
		}
		answer, who := in.schemaAnswer(rs.Name, p.Version)
		switch {
		case answer.Prepared:
			continue
		case answer.Version == p.Version:
			return endSchema(in, p, &catalog.AbortCause{Code: answer.Code, Message: answer.Message, Instance: who})
		}
		agreed = false
		if cause := waitForAnswer(in, rs.Name, p.Version, r); cause != nil {
			return endSchema(in, p, cause)
		}
	}
	if !agreed {
		return nil
	}
	return endSchema(in, p, nil)
}

// schemaAnswer is what a replicaset says to the change, and by which instance: a refusal before an agreement.
func (in Input) schemaAnswer(replicaset string, version uint64) (found SchemaAnswer, who string) {
	for _, row := range in.Catalog.InstancesOf(replicaset) {
		if a := in.Instances[row.Name].Schema; a.Version == version && (found.Version == 0 || !a.Prepared) {
			found, who = a, row.Name
		}
	}
	return found, who
}

// waitForAnswer reports that a replicaset has not answered. It returns why that is not waited for any more, or nil.
func waitForAnswer(in Input, replicaset string, version uint64, r *Report) *catalog.AbortCause {
	if in.waitForLeader(r, Row{Subject: replicaset, Kind: fmt.Sprintf("%s %d", kindSchema, version),
		Text: fmt.Sprintf("replicaset %s: waiting until its rows agree to change %d of the schema", replicaset, version)},
		fmt.Sprintf("replicaset %s: waiting for a leader that agrees to change %d of the schema", replicaset, version)) {
		return nil
	}
	return &catalog.AbortCause{Instance: in.Leader, Message: "replicaset " + replicaset + " has no leader that could agree"}
}

// waitForLeader reports that something is waited for that the leader of a replicaset has to do, with other words while there is
// none. It returns false when there has been none for so long that it is not waited for any more.
func (in Input) waitForLeader(r *Report, line Row, leaderless string) bool {
	view := in.DataGroups[line.Subject]
	silent := !view.Known || view.Leader == ""
	if silent {
		line.Kind += " without a leader"
		line.Text = leaderless
	}
	r.wait(in, line)
	if !silent {
		return true
	}
	due := r.Waiting[len(r.Waiting)-1].Since.Add(in.autoOffline())
	if in.Now.Before(due) {
		r.recheck(due)
		return true
	}
	return false
}

// planSettle puts on record that a change by which rows go was carried out by all replicasets but those that have had no leader
// for auto_offline_timeout: nobody writes there, and they carry it out when they return.
func planSettle(in Input, r *Report) *Step {
	version := in.Catalog.Unsettled()
	if version == 0 {
		return nil
	}
	for _, rs := range in.Catalog.Replicasets() {
		if rs.State == catalog.ReplicasetExpelled || rs.State == catalog.ReplicasetToBeExpelled || in.followed(rs.Name) >= version {
			continue
		}
		if in.waitForLeader(r, Row{Subject: rs.Name, Kind: fmt.Sprintf("%s settles %d", kindSchema, version),
			Text: fmt.Sprintf("replicaset %s: waiting until it has carried out change %d of the schema, by which rows go", rs.Name, version)},
			fmt.Sprintf("replicaset %s: waiting for a leader that carries out change %d of the schema, by which rows go", rs.Name, version)) {
			return nil
		}
	}
	op, guard := catalog.PlanSettle(in.Catalog, version)
	guard.Term = in.Term
	return &Step{Text: fmt.Sprintf("catalog: change %d of the schema, by which rows go, is carried out", version), Op: op, Guard: guard}
}

// followed is the version of the schema that a replicaset is known to have come to.
func (in Input) followed(replicaset string) (version uint64) {
	for _, row := range in.Catalog.InstancesOf(replicaset) {
		version = max(version, in.Instances[row.Name].Schema.Followed)
	}
	return version
}

// endSchema is the step that commits the pending change, or with a cause takes it back.
func endSchema(in Input, p catalog.PendingSchema, cause *catalog.AbortCause) *Step {
	text := fmt.Sprintf("catalog: commit change %d of the schema", p.Version)
	op, _, err := catalog.PlanDDLCommit(in.Catalog, p.Version)
	if cause != nil {
		text = fmt.Sprintf("catalog: take change %d of the schema back: %s", p.Version, cause.Message)
		op, _, err = catalog.PlanDDLAbort(in.Catalog, p.Version, *cause)
	}
	if err != nil { // it is not pending
		return nil
	}
	guard := catalog.Unchanged(in.Catalog, catalog.Range{Table: catalog.TableReplicaset})
	guard.Term = in.Term
	return &Step{Text: text, Op: op, Guard: guard}
}
