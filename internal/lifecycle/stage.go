package lifecycle

import "fmt"

// Stage says what a process is for at the moment. It belongs to the process, not to the instance.
type Stage uint8

// The stages. Postjoin lasts as long as the process serves.
const (
	Supervisor Stage = iota // the parent: locks, starts the child, wipes, starts it again
	Discover                // looks at its directory, or looks for its cluster with an identity to be thrown away
	Boot                    // makes a new cluster
	Join                    // becomes a member of an existing one (also Replace, which gives a lost member new raft ids)
	Postjoin                // talks to the others and serves
	stageCount
)

var stageNames = [stageCount]string{"Supervisor", "Discover", "Boot", "Join", "Postjoin"}

// StageEdge is one allowed change of stage.
type StageEdge struct {
	From, To Stage
	// NewProcess: the change is made by the supervisor, which starts another child; otherwise by the process itself.
	NewProcess bool
	// Why says in a few words what brings the change about.
	Why string
}

var stageEdges = [...]StageEdge{
	{Supervisor, Discover, true, "identity, or nothing yet"},
	{Supervisor, Boot, true, "entrypoint Boot"},
	{Supervisor, Join, true, "entrypoint Join or Replace"},
	{Discover, Boot, true, "rebootstrap"},
	{Discover, Join, true, "rebootstrap"},
	{Discover, Postjoin, false, "restart from disk"},
	{Boot, Postjoin, false, "accepted"},
	{Join, Postjoin, false, "accepted"},
}

// Stages returns all stages in the order of a life.
func Stages() []Stage { return []Stage{Supervisor, Discover, Boot, Join, Postjoin} }

// StageEdges returns a copy of the table of stage changes.
func StageEdges() []StageEdge { return append([]StageEdge(nil), stageEdges[:]...) }

// StageAllowed reports whether a process in stage from may itself go on to stage to. Changes that need a new process
// are not among them.
func StageAllowed(from, to Stage) bool {
	for _, e := range stageEdges {
		if e.From == from && e.To == to {
			return !e.NewProcess
		}
	}
	return false
}

// String returns the stage's name as it is shown everywhere.
func (s Stage) String() string {
	if s < stageCount {
		return stageNames[s]
	}
	return fmt.Sprintf("Stage(%d)", uint8(s))
}

// ParseStage is the inverse of String.
func ParseStage(name string) (Stage, error) {
	for i, n := range stageNames {
		if n == name {
			return Stage(i), nil
		}
	}
	return 0, fmt.Errorf("lifecycle: %q is not a stage", name)
}

// MarshalText writes the name.
func (s Stage) MarshalText() ([]byte, error) {
	if s >= stageCount {
		return nil, fmt.Errorf("lifecycle: %s is not a stage", s)
	}
	return []byte(stageNames[s]), nil
}

// UnmarshalText reads a name.
func (s *Stage) UnmarshalText(b []byte) error {
	v, err := ParseStage(string(b))
	if err == nil {
		*s = v
	}
	return err
}
