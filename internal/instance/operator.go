package instance

import (
	"context"
	"fmt"
	"time"

	"github.com/lycosadb/lycosa/internal/access"
	"github.com/lycosadb/lycosa/internal/audit"
	"github.com/lycosadb/lycosa/internal/box"
	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/event"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/server"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// operation is a wish of an operator: what it is called in the audit log, and how it is recorded in the catalog.
type operation struct {
	what string
	plan func(view *catalog.State, now string) (catalog.Op, catalog.Predicate, error)
	// done is what the operator is told.
	done string
}

// asAbort says that a change of the schema is taken back.
func asAbort(version uint64) operation {
	what := fmt.Sprintf("change %d of the schema", version)
	return operation{what: "abort " + what, done: what + " is taken back",
		plan: func(view *catalog.State, _ string) (catalog.Op, catalog.Predicate, error) {
			return catalog.PlanDDLTakeBack(view, version, "lycosa abort-ddl")
		}}
}

// operatorProcedures are called by operators, of any instance that belongs to the cluster.
func (i *Instance) operatorProcedures() map[string]func(message []byte) (operation, error) {
	return map[string]func([]byte) (operation, error){
		wire.ProcExpel: func(message []byte) (operation, error) {
			m, err := wire.DecodeExpel(message)
			return operation{what: "expel " + m.Name, done: m.Name + " is being expelled; lycosa status shows how far it is",
				plan: func(view *catalog.State, now string) (catalog.Op, catalog.Predicate, error) {
					return catalog.PlanExpel(view, m.Name, m.Force, now)
				}}, err
		},
		wire.ProcReplace: func(message []byte) (operation, error) {
			m, err := wire.DecodeReplace(message)
			return operation{what: "replace " + m.Name, done: m.Name + " may come back: if it does not run, start it on an empty directory with " +
				"--instance-name " + m.Name,
				plan: func(view *catalog.State, _ string) (catalog.Op, catalog.Predicate, error) {
					return catalog.PlanReplace(view, m.Name, m.Force)
				}}, err
		},
		wire.ProcAbortDDL: func(message []byte) (operation, error) {
			m, err := wire.DecodeAbortDDL(message)
			return asAbort(m.Version), err
		},
		wire.ProcPromote: func(message []byte) (operation, error) {
			m, err := wire.DecodePromote(message)
			return operation{what: "promote " + m.Name, done: m.Name + " is to lead its replicaset; lycosa status shows when it does",
				plan: func(view *catalog.State, _ string) (catalog.Op, catalog.Predicate, error) {
					return catalog.PlanPromote(view, m.Name)
				}}, err
		},
	}
}

// callOperator runs an operator's procedure on a goroutine of its own.
func (b *backend) callOperator(s *server.Session, req *iproto.Request) {
	name, args, sync, user := string(req.Function), clone(req.Tuple), req.Sync, b.session(s).user
	go func() {
		answer, err := b.serveOperator(s, user, name, args)
		if err != nil {
			s.Complete(iproto.AppendError(nil, sync, b.SchemaVersion(), errcode.Of(err)))
			return
		}
		s.Complete(iproto.AppendData(nil, sync, b.SchemaVersion(), answer))
	}()
}

// serveOperator runs an operator's procedure: recorded before and after in the audit log.
func (b *backend) serveOperator(s *server.Session, user *box.User, name string, args []byte) ([]byte, error) {
	if !user.Rights.Check(user.ID, access.Execute, access.Universe, 0) {
		return nil, errcode.NewAccessDenied("Execute", "function", name, user.Name)
	}
	message, err := wire.Argument(args)
	if err != nil {
		return nil, err
	}
	op, err := b.i.operators[name](message)
	if err != nil {
		return nil, err
	}
	if err := b.i.audit.Write(audit.Entry{Event: "privileged_intent", Who: user.Name, What: op.what, Privileged: true}); err != nil {
		return nil, errcode.Newf(errcode.WALIO, "the audit log can not be written, so the cluster can not be changed: %v", err)
	}
	err = b.i.operate(b.c, op)
	e := event.Privileged{At: b.i.clock.Wall(), Who: user.Name, Where: s.Peer(), What: op.what, Result: "ok"}
	if err != nil {
		e.Result = "refused: " + err.Error()
	}
	b.i.sink.Emit(e)
	if err != nil {
		return nil, err
	}
	return msgpack.AppendStr(nil, op.done), nil
}

// operate records an operation, planned anew on each change of the catalog that gets between.
func (i *Instance) operate(c *core, op operation) error {
	ctx, cancel := context.WithTimeout(context.Background(), peerTimeout)
	defer cancel()
	for {
		plan, guard, err := op.plan(c.catalog.View(), i.clock.Wall().UTC().Format(time.RFC3339Nano))
		if err != nil {
			return err
		}
		if plan.Kind == catalog.Nop {
			return nil
		}
		_, err = i.propose(ctx, c, plan, guard)
		if err == nil || !planAgain(err) || ctx.Err() != nil {
			return err
		}
		pause(ctx, joinRetry)
	}
}
