package datadir

import (
	"fmt"
	"strings"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// FileState is what was found of one file.
type FileState uint8

// The states of a file.
const (
	Absent FileState = iota
	Readable
	// Unreadable: there is something, but it is damaged, of a newer format, a link, or cannot be read.
	Unreadable
)

// Found is a file as it was found.
type Found[T any] struct {
	State FileState
	// Value is set when Readable.
	Value T
	// Reason is set when Unreadable.
	Reason string
}

// Group is what was found of a raft group's directory.
type Group struct {
	// Entries is the number of files and directories in it.
	Entries int
	// Snapshot and Log tell whether at least one complete file of the kind is there. Whether they fit together is found
	// out by recovery.
	Snapshot, Log bool
}

// Config is what was found of the copy of the cluster-wide configuration.
type Config struct {
	// Entries is the number of files and directories in config/.
	Entries int
	// State is Readable when CURRENT names a version that is there and valid, as far as the looker can tell.
	State  FileState
	Reason string
}

// Listing is everything Look judges by.
type Listing struct {
	Identity   Found[Identity]
	Entrypoint Found[Entrypoint]
	Discovery  Found[DiscoveryRecord]
	Config     Config
	Data       Group
	Catalog    Group
	// Foreign lists *.snap and *.xlog files in the root.
	Foreign []string
	// NotOurs lists names that a wipe would have to remove but must not touch: links, or not of the expected kind.
	NotOurs []string
}

// Begin is how an instance begins.
type Begin uint8

// The ways to begin.
const (
	// BeginInitError: the instance only tells its cause.
	BeginInitError Begin = iota
	// BeginDiscover looks for a cluster.
	BeginDiscover
	// BeginBoot, BeginJoin and BeginReplace run the entrypoint.
	BeginBoot
	BeginJoin
	BeginReplace
	// BeginRestart recovers from disk.
	BeginRestart
	// BeginWait stays in ConfigLoaded with the cause until the instance is replaced.
	BeginWait
)

// String names the way to begin, for logs and tests.
func (b Begin) String() string {
	names := []string{"init-error", "discover", "boot", "join", "replace", "restart", "wait"}
	if int(b) < len(names) {
		return names[b]
	}
	return fmt.Sprintf("Begin(%d)", uint8(b))
}

// Stage returns the process stage in which the child begins.
func (b Begin) Stage() lifecycle.Stage {
	switch b {
	case BeginBoot:
		return lifecycle.Boot
	case BeginJoin, BeginReplace:
		return lifecycle.Join
	}
	return lifecycle.Discover
}

// Verdict is what a directory means.
type Verdict struct {
	// Case is the letter of the rule in the specification, 'a' to 'f'.
	Case  byte
	Begin Begin
	// Wipe: the database's own files are removed before the next child starts.
	Wipe bool
	// WipeDespiteIdentity allows that although an identity is there (case b only).
	WipeDespiteIdentity bool
	// Leftovers are files to be removed, and the directory synced, before raft starts.
	Leftovers []string
	// Cause is set for BeginInitError and BeginWait.
	Cause *lifecycle.Cause
	// Identity and Entrypoint are set when the verdict is about them.
	Identity   *Identity
	Entrypoint *Entrypoint
}

// Look judges a data directory; the first rule that matches rules.
func Look(l Listing) Verdict {
	switch {
	case l.Identity.State == Unreadable:
		return initError('a', IdentityFile, "the identity file cannot be used: "+l.Identity.Reason)
	case l.Entrypoint.State == Unreadable:
		return initError('a', EntrypointFile, "the entrypoint file cannot be used: "+l.Entrypoint.Reason)
	}
	if v, ok := lookReplace(l); ok {
		return v
	}
	if l.Identity.State == Readable {
		return lookMember(l)
	}
	if l.Entrypoint.State == Readable {
		return lookEntrypoint(l)
	}
	return lookUnplaced(l)
}

// lookReplace is case (b): an entrypoint Replace whose raft ids are not yet in the identity.
func lookReplace(l Listing) (Verdict, bool) {
	e, id := l.Entrypoint.Value, l.Identity.Value
	if l.Entrypoint.State != Readable || e.Kind != EntryReplace {
		return Verdict{}, false
	}
	hasIdentity := l.Identity.State == Readable
	if hasIdentity && id.RaftID == e.RaftID && id.DataRaftID == e.DataRaftID {
		return Verdict{}, false
	}
	if hasIdentity && id.InstanceUUID != e.InstanceUUID {
		return initError('b', EntrypointFile, fmt.Sprintf("the entrypoint replaces instance %s, but the identity is that of %s",
			e.InstanceUUID, id.InstanceUUID)), true
	}
	v := Verdict{Case: 'b', Begin: BeginReplace, Wipe: true, WipeDespiteIdentity: hasIdentity, Entrypoint: &e}
	if hasIdentity {
		v.Identity = &id
	}
	return guardWipe(v, l), true
}

// lookMember is case (c): this directory belongs to a member of a cluster.
func lookMember(l Listing) Verdict {
	id := l.Identity.Value
	v := Verdict{Case: 'c', Begin: BeginRestart, Identity: &id}
	if l.Entrypoint.State != Absent {
		v.Leftovers = append(v.Leftovers, EntrypointFile)
	}
	if l.Discovery.State != Absent {
		v.Leftovers = append(v.Leftovers, DiscoveryFile)
	}
	switch {
	case l.Config.State == Absent:
		v.Begin = BeginInitError
		v.Cause = cause(ConfigDir, "the copy of the cluster-wide configuration is missing: data without configuration; "+
			"restore "+ConfigDir+"/ from a copy of this directory")
	case l.Config.State == Unreadable:
		v.Begin = BeginInitError
		v.Cause = cause(ConfigDir, "the copy of the cluster-wide configuration cannot be used: "+l.Config.Reason)
	}
	if v.Cause != nil {
		return v
	}
	if lost := missing(l); lost != "" {
		v.Begin = BeginWait
		v.Cause = cause(DataDir, fmt.Sprintf("instance %s has lost %s. If others have its data, let them feed it anew: `lycosa replace %s`. "+
			"Otherwise restore the directory from a copy, or start on an empty one without the data", id.InstanceName, lost, id.InstanceName))
	}
	return v
}

// missing names what the two groups lack for a restart, or is empty.
func missing(l Listing) string {
	var lost []string
	if l.Identity.Value.DataPending { // it is made anew, whatever there is
		l.Data.Snapshot, l.Data.Log = true, true
	}
	for _, g := range []struct {
		name string
		Group
	}{{CatalogDir, l.Catalog}, {DataDir, l.Data}} {
		if !g.Snapshot {
			lost = append(lost, "the snapshot in "+g.name+"/")
		}
		if !g.Log {
			lost = append(lost, "the log in "+g.name+"/")
		}
	}
	if len(lost) < 2 {
		return strings.Join(lost, "")
	}
	return strings.Join(lost[:len(lost)-1], ", ") + " and " + lost[len(lost)-1]
}

// lookEntrypoint is case (d).
func lookEntrypoint(l Listing) Verdict {
	e := l.Entrypoint.Value
	v := Verdict{Case: 'd', Begin: BeginJoin, Wipe: true, Entrypoint: &e}
	if e.Kind == EntryBoot {
		v.Begin = BeginBoot
	}
	return guardWipe(v, l)
}

// lookUnplaced are the cases (e) and (f): neither identity nor entrypoint.
func lookUnplaced(l Listing) Verdict {
	var holding []string
	for _, d := range []struct {
		name    string
		entries int
	}{{DataDir, l.Data.Entries}, {CatalogDir, l.Catalog.Entries}, {ConfigDir, l.Config.Entries}} {
		if d.entries > 0 {
			holding = append(holding, d.name+"/")
		}
	}
	switch {
	case holding != nil:
		return initError('e', IdentityFile, "data without identity: there is something in "+strings.Join(holding, ", ")+
			" but no identity file; restore it, or start on an empty directory")
	case len(l.Foreign) > 0:
		return initError('e', l.Foreign[0], "this looks like a Tarantool directory ("+l.Foreign[0]+"); use `lycosa import`")
	case l.Discovery.State == Unreadable:
		return initError('f', DiscoveryFile, "the discovery file cannot be used: "+l.Discovery.Reason+
			"; remove it only if this instance has never been shown to its peers")
	}
	// Every way on from here leads over a wipe, so what would refuse it is told before a cluster is made or joined.
	return guardWipe(Verdict{Case: 'f', Begin: BeginDiscover}, l)
}

// guardWipe turns a verdict that would remove what is not surely ours into an error.
func guardWipe(v Verdict, l Listing) Verdict {
	if len(l.NotOurs) == 0 {
		return v
	}
	name := l.NotOurs[0]
	return initError(v.Case, name, fmt.Sprintf("%s must be removed before the next step, but it is a link or not of the "+
		"expected kind; put it right by hand", name))
}

func initError(rule byte, field, message string) Verdict {
	return Verdict{Case: rule, Begin: BeginInitError, Cause: cause(field, message)}
}

func cause(field, message string) *lifecycle.Cause {
	return &lifecycle.Cause{Code: uint32(errcode.Loading), Message: message, Field: field}
}
