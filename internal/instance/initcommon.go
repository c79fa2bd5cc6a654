package instance

import (
	"fmt"

	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// boxParams are the options of the box that differ between the stages.
type boxParams struct {
	stage lifecycle.Stage
	// clusterUUID and instanceUUID are empty for random ones.
	clusterUUID, instanceUUID string
}

// initStep is one step of initCommon.
type initStep struct {
	name string
	do   func(boxParams) error
}

// nothingYet is the step of a subsystem that this version does not have: it keeps its place in the order.
func nothingYet(boxParams) error { return nil }

// initSteps is what every stage does before its own work, in this order.
func (i *Instance) initSteps() []initStep {
	return []initStep{
		{"create the data directory", func(boxParams) error { return i.dir.Create() }},
		{"box.cfg", i.boxCfg},
		{"open the audit log", func(boxParams) error { return nil }}, // open since the process started
		{"Lua modules", nothingYet},
		{"distributed SQL", nothingYet},
		{"stored procedures", nothingYet},                      // built in: see procedures.go
		{"local spaces _raft_log and _raft_state", nothingYet}, // virtual spaces of the box
		{"system tables", nothingYet},                          // virtual spaces of the box
	}
}

func (i *Instance) initCommon(p boxParams) error { return runSteps(i.initSteps(), p) }

// runSteps runs the steps in their order, up to the first that fails.
func runSteps(steps []initStep, p boxParams) error {
	for _, s := range steps {
		if err := s.do(p); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// throwawayBytes is the memory of a box that Discover makes only to prove that one can be made.
const throwawayBytes = 8 << 20

// boxCfg opens the engine. Discover's keeps nothing and is closed at once; those of Boot and restart are filled, and kept,
// by openCore.
func (i *Instance) boxCfg(p boxParams) error {
	if p.stage != lifecycle.Discover {
		return i.checkMemory()
	}
	e, err := box.New(box.Options{QuotaBytes: throwawayBytes})
	if err != nil {
		return err
	}
	return e.Close()
}

// memoryMin is the smallest quota with which an instance can work, in bytes.
const memoryMin = 8 << 20

func (i *Instance) checkMemory() error {
	if i.cfg.MemoryBytes < memoryMin {
		return fmt.Errorf("--memory %s is too little: give at least 8MiB", i.cfg.MemoryBytes)
	}
	return nil
}
