package event

import "time"

// ProcessStarted: a process of ours has begun its work.
type ProcessStarted struct {
	At      time.Time
	Version string
	Stage   string
	PID     int
	DataDir string
}

// Name is "process_started".
func (ProcessStarted) Name() string { return "process_started" }

// Level is Info.
func (ProcessStarted) Level() Level { return Info }

// Text says so.
func (ProcessStarted) Text() string { return "process started" }

// When is the time of the start.
func (e ProcessStarted) When() time.Time { return e.At }

// Fields are version, stage, pid and data directory.
func (e ProcessStarted) Fields() []Field {
	return fields("version", e.Version, "stage", e.Stage, "pid", number(uint64(max(0, e.PID))), "data_dir", e.DataDir)
}

// ProcessStopping: a process of ours is about to end.
type ProcessStopping struct {
	At     time.Time
	Reason string
	// Unclean: it ends because of an error.
	Unclean bool
}

// Name is "process_stopping".
func (ProcessStopping) Name() string { return "process_stopping" }

// Level is Error for an unclean end.
func (e ProcessStopping) Level() Level {
	if e.Unclean {
		return Error
	}
	return Info
}

// Text says so.
func (ProcessStopping) Text() string { return "process is stopping" }

// When is the time at which stopping began.
func (e ProcessStopping) When() time.Time { return e.At }

// Fields hold the reason.
func (e ProcessStopping) Fields() []Field { return fields("reason", e.Reason) }

// Authenticated: somebody has tried to log in.
type Authenticated struct {
	At time.Time
	// User is the name that was given, also if there is no such user.
	User string
	// Where is the remote address, or the path of a local socket.
	Where string
	OK    bool
	// Reason of a refusal; never shown to the client in this detail.
	Reason string
}

// Name is "auth_ok" or "auth_refused".
func (e Authenticated) Name() string {
	if e.OK {
		return "auth_ok"
	}
	return "auth_refused"
}

// Level is Warn for a refusal.
func (e Authenticated) Level() Level {
	if e.OK {
		return Info
	}
	return Warn
}

// Text says how it ended.
func (e Authenticated) Text() string {
	if e.OK {
		return "user logged in"
	}
	return "login refused"
}

// When is the time of the answer.
func (e Authenticated) When() time.Time { return e.At }

// Fields are user, where and reason.
func (e Authenticated) Fields() []Field {
	return fields("user", e.User, "where", e.Where, "reason", e.Reason)
}

// Privileged: an operation that needs more than ordinary rights is about to be done (Result empty) or is over.
type Privileged struct {
	At    time.Time
	Who   string // user
	Where string // remote address, or path of a local socket
	What  string // "create user bob", "expel i3"
	// Result is empty for the intent, which is recorded before the effect; then "ok" or "refused: …".
	Result string
}

// Name is "privileged_intent" or "privileged_done".
func (e Privileged) Name() string {
	if e.Result == "" {
		return "privileged_intent"
	}
	return "privileged_done"
}

// Level is Warn unless the operation was done.
func (e Privileged) Level() Level {
	if e.Result == "" || e.Result == "ok" {
		return Info
	}
	return Warn
}

// Text is what is done.
func (e Privileged) Text() string { return "privileged operation: " + e.What }

// When is the time of the intent or of the result.
func (e Privileged) When() time.Time { return e.At }

// Fields are who, where, what and result.
func (e Privileged) Fields() []Field {
	return fields("user", e.Who, "where", e.Where, "what", e.What, "result", e.Result)
}

// LeaderChanged: a raft group has another leader, or none.
type LeaderChanged struct {
	At     time.Time
	Group  string
	Term   uint64
	Leader uint64 // raft id, 0 for none
}

// Name is "leader_changed".
func (LeaderChanged) Name() string { return "leader_changed" }

// Level is Warn when there is no leader.
func (e LeaderChanged) Level() Level {
	if e.Leader == 0 {
		return Warn
	}
	return Info
}

// Text says whether there is a leader.
func (e LeaderChanged) Text() string {
	if e.Leader == 0 {
		return "raft group has no leader"
	}
	return "raft group has a leader"
}

// When is the time at which this instance noticed.
func (e LeaderChanged) When() time.Time { return e.At }

// Fields are group, term and leader.
func (e LeaderChanged) Fields() []Field {
	return fields("group", e.Group, "term", number(e.Term), "leader_raft_id", number(e.Leader))
}

// CheckpointDone: a snapshot of the data was written, or could not be.
type CheckpointDone struct {
	At       time.Time
	Path     string
	Rows     uint64
	Duration time.Duration
	Failure  string // empty if it was written
}

// Name is "checkpoint_done" or "checkpoint_failed".
func (e CheckpointDone) Name() string {
	if e.Failure != "" {
		return "checkpoint_failed"
	}
	return "checkpoint_done"
}

// Level is Error for a failure.
func (e CheckpointDone) Level() Level {
	if e.Failure != "" {
		return Error
	}
	return Info
}

// Text says how it ended.
func (e CheckpointDone) Text() string {
	if e.Failure != "" {
		return "checkpoint failed"
	}
	return "checkpoint written"
}

// When is the time of its end.
func (e CheckpointDone) When() time.Time { return e.At }

// Fields are path, rows, duration and failure.
func (e CheckpointDone) Fields() []Field {
	return fields("path", e.Path, "rows", number(e.Rows), "duration", e.Duration.String(), "failure", e.Failure)
}

// Poisoned: a write or sync of the instance's own log or identity failed; nothing more is acknowledged.
type Poisoned struct {
	At      time.Time
	What    string // which log or file
	Failure string
}

// Name is "poisoned".
func (Poisoned) Name() string { return "poisoned" }

// Level is Error.
func (Poisoned) Level() Level { return Error }

// Text says what follows.
func (Poisoned) Text() string { return "a write to our own log failed: nothing more is acknowledged" }

// When is the time of the failed call.
func (e Poisoned) When() time.Time { return e.At }

// Fields are what and failure.
func (e Poisoned) Fields() []Field { return fields("what", e.What, "failure", e.Failure) }

// DiskFull: the disk of a group's log has no space left, or has some again. Writes are refused in between.
type DiskFull struct {
	At    time.Time
	Group string
	Full  bool
}

// Name is "disk_full" or "disk_has_space".
func (e DiskFull) Name() string {
	if e.Full {
		return "disk_full"
	}
	return "disk_has_space"
}

// Level is Error while the disk is full.
func (e DiskFull) Level() Level {
	if e.Full {
		return Error
	}
	return Info
}

// Text says what follows.
func (e DiskFull) Text() string {
	if e.Full {
		return "the disk is full: writes are refused until there is space again"
	}
	return "the disk has space again: writes are accepted"
}

// When is the time at which it was noticed.
func (e DiskFull) When() time.Time { return e.At }

// Fields are the group.
func (e DiskFull) Fields() []Field { return fields("group", e.Group) }

// LogDamaged: the log of a group did not end as it should after an unclean stop.
type LogDamaged struct {
	At    time.Time
	Group string
	// TornBytes were cut from the end: a write that nobody was told of, or, without sync, what a power cut took.
	TornBytes int64
	// LostEntries were committed and are gone: the log was written without sync.
	LostEntries uint64
}

// Name is "log_tail_cut" or "log_entries_lost".
func (e LogDamaged) Name() string {
	if e.LostEntries > 0 {
		return "log_entries_lost"
	}
	return "log_tail_cut"
}

// Level is Error if something is lost.
func (e LogDamaged) Level() Level {
	if e.LostEntries > 0 {
		return Error
	}
	return Warn
}

// Text says what happened.
func (e LogDamaged) Text() string {
	if e.LostEntries > 0 {
		return "committed entries are gone: the log was written without sync"
	}
	return "the end of the log was torn and has been cut"
}

// When is the time of the recovery.
func (e LogDamaged) When() time.Time { return e.At }

// Fields are group and sizes.
func (e LogDamaged) Fields() []Field {
	return fields("group", e.Group, "torn_bytes", number(uint64(max(e.TornBytes, 0))), "lost_entries", number(e.LostEntries))
}

// The outcomes of LogUnsure.
const (
	UnsureGoesOn   = "goes on from what it has"
	UnsureOutdates = "goes on from what it has; the learners begin anew"
	UnsureWaits    = "waits to be fed by the others under a new raft id"
)

// LogUnsure: the log of a group was not synced before an unclean stop, so that acknowledged entries may be gone from it.
type LogUnsure struct {
	At    time.Time
	Group string
	// Mode is how the log is written.
	Mode string
	// LostEntries are gone for certain.
	LostEntries uint64
	// Outcome is what the replica does.
	Outcome string
}

// Name is "log_unsure".
func (LogUnsure) Name() string { return "log_unsure" }

// Level is Warn.
func (LogUnsure) Level() Level { return Warn }

// Text says what happened.
func (LogUnsure) Text() string {
	return "the log was not synced before an unclean stop: acknowledged entries may be gone from it"
}

// When is the time of the start.
func (e LogUnsure) When() time.Time { return e.At }

// Fields are group, mode, what is gone for certain, and what the replica does.
func (e LogUnsure) Fields() []Field {
	return fields("group", e.Group, "mode", e.Mode, "lost_entries", number(e.LostEntries), "outcome", e.Outcome)
}
