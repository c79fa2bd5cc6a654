package lifecycle

import (
	"fmt"
	"time"
)

// State is what an instance says of itself.
type State uint8

// The states, as in Tarantool Cartridge, and Start before them.
const (
	Start State = iota // the process has started and has not looked at its directory yet

	Unconfigured
	ConfigFound
	ConfigLoaded
	BootstrappingBox
	RecoveringSnapshot
	ConnectingFullmesh
	BoxConfigured
	ConfiguringRoles
	RolesConfigured

	InitError
	BootError
	OperationError
	stateCount
)

// PassingMax is the time after which an instance that stays in a passing state has an issue.
const PassingMax = 30 * time.Second

// kind groups the states for limits and pictures.
type kind uint8

const (
	passing    kind = iota // ends by itself within PassingMax
	waiting                // may last while there is progress or a named wait
	resting                // may last for ever: normal work
	failed                 // carries its cause; some way out exists
	failedHard             // carries its cause; only a restart leads out
)

// stateRow is everything the tables say about one state.
type stateRow struct {
	name   string
	kind   kind
	next   []State // allowed edges
	stages []Stage // where it may occur
}

// states is the table of allowed edges and the table of stages and states. A Boot or Join process may also begin with
// the state that its entrypoint carries (see resumes).
var states = [stateCount]stateRow{
	Start: {"(start)", passing,
		[]State{Unconfigured, ConfigFound, InitError}, []Stage{Discover, Boot, Join}},
	Unconfigured: {"Unconfigured", waiting,
		[]State{BootstrappingBox, InitError}, []Stage{Discover, Boot, Join}},
	ConfigFound: {"ConfigFound", passing,
		[]State{ConfigLoaded, InitError}, []Stage{Discover}},
	ConfigLoaded: {"ConfigLoaded", waiting,
		[]State{RecoveringSnapshot, BootstrappingBox, InitError}, []Stage{Discover, Join}},
	BootstrappingBox: {"BootstrappingBox", passing,
		[]State{ConnectingFullmesh, BootError}, []Stage{Boot, Join}},
	RecoveringSnapshot: {"RecoveringSnapshot", waiting,
		[]State{ConnectingFullmesh, BootError}, []Stage{Discover}},
	ConnectingFullmesh: {"ConnectingFullmesh", waiting,
		[]State{ConnectingFullmesh, BoxConfigured, BootError}, []Stage{Postjoin}},
	BoxConfigured: {"BoxConfigured", passing,
		[]State{ConfiguringRoles}, []Stage{Postjoin}},
	ConfiguringRoles: {"ConfiguringRoles", passing,
		[]State{RolesConfigured, OperationError}, []Stage{Postjoin}},
	RolesConfigured: {"RolesConfigured", resting,
		[]State{ConfiguringRoles}, []Stage{Postjoin}},
	InitError: {"InitError", failedHard,
		nil, []Stage{Supervisor, Discover, Boot, Join, Postjoin}},
	BootError: {"BootError", failedHard,
		nil, []Stage{Supervisor, Discover, Boot, Join, Postjoin}},
	OperationError: {"OperationError", failed,
		[]State{ConfiguringRoles}, []Stage{Postjoin}},
}

// resumes lists the states that an entrypoint may carry into a new process, by its stage: Boot and Join go on where
// Discover was, Replace where the instance waited for it.
var resumes = [stageCount][]State{
	Boot: {Unconfigured},
	Join: {Unconfigured, ConfigLoaded},
}

// Edge is one allowed change of state.
type Edge struct{ From, To State }

// States returns the twelve states, without Start, in the order of a life, the error states last.
func States() []State {
	all := make([]State, 0, stateCount-1)
	for s := Start + 1; s < stateCount; s++ {
		all = append(all, s)
	}
	return all
}

// Edges returns the table of allowed edges, those of Start included, sorted by From and then as the table lists them.
func Edges() []Edge {
	var all []Edge
	for from := Start; from < stateCount; from++ {
		for _, to := range states[from].next {
			all = append(all, Edge{from, to})
		}
	}
	return all
}

// Allowed reports whether the edge is in the table.
func Allowed(from, to State) bool { return from < stateCount && contains(states[from].next, to) }

// StateInStage reports whether an instance whose process is in that stage may be in that state.
func StateInStage(stage Stage, state State) bool {
	return stage < stageCount && state < stateCount && contains(states[state].stages, stage)
}

// Resumable reports whether a process that starts in that stage may begin with that state, carried by its entrypoint.
func Resumable(stage Stage, state State) bool {
	return stage < stageCount && contains(resumes[stage], state)
}

// IsError reports whether the state is one of the three error states, which always carry a cause.
func (s State) IsError() bool { return s < stateCount && states[s].kind >= failed }

// IsTerminal reports whether only a restart of the process leads out of the state.
func (s State) IsTerminal() bool { return s < stateCount && states[s].kind == failedHard }

// ServesData reports whether data requests are served: from ConnectingFullmesh on, also while a role has failed.
func (s State) ServesData() bool {
	return s == OperationError || s >= ConnectingFullmesh && s <= RolesConfigured
}

// String returns the state's name as it is shown everywhere; Start is "(start)".
func (s State) String() string {
	if s < stateCount {
		return states[s].name
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// ParseState is the inverse of String.
func ParseState(name string) (State, error) {
	for i := range states {
		if states[i].name == name {
			return State(i), nil
		}
	}
	return 0, fmt.Errorf("lifecycle: %q is not a state", name)
}

// MarshalText writes the name.
func (s State) MarshalText() ([]byte, error) {
	if s >= stateCount {
		return nil, fmt.Errorf("lifecycle: %s is not a state", s)
	}
	return []byte(states[s].name), nil
}

// UnmarshalText reads a name.
func (s *State) UnmarshalText(b []byte) error {
	v, err := ParseState(string(b))
	if err == nil {
		*s = v
	}
	return err
}

func contains[T comparable](list []T, v T) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}
