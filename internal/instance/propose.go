package instance

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	catalogrunner "github.com/lycosadb/lycosa/internal/catalog/runner"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/rpc"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// proposeRetry is the pause before a request is made again of another leader.
const proposeRetry = 50 * time.Millisecond

// propose records an operation with its guard in the catalog, through whoever leads its group, and returns when it is
// visible here.
func (i *Instance) propose(ctx context.Context, c *core, op catalog.Op, guard catalog.Predicate) (catalog.Result, error) {
	return i.record(ctx, c, &catalogrunner.Request{Ops: []catalog.Op{op}, Predicate: &guard, Initiator: catalog.AdminID})
}

// record runs a request on the catalog. It carries an id, so that it is applied once however often it has to be sent, as long as the
// catalog remembers it. Errors
// are those of catalog/runner.Machine.Do.
func (i *Instance) record(ctx context.Context, c *core, req *catalogrunner.Request) (catalog.Result, error) {
	if c.catalogLoop.Status().Role == raftgroup.RoleLeader {
		return c.catalog.Do(ctx, req)
	}
	if req.ID == (catalog.RequestID{}) {
		rand.Read(req.ID[:])
	}
	sent, from := false, c.catalog.Applied()
	for {
		res, err := i.recordAt(ctx, c, req)
		sent = sent || unknown(err)
		switch {
		case err == nil:
			return res, c.catalog.Wait(ctx, res.Index)
		case ctx.Err() != nil && sent:
			return res, errors.Join(errcode.New(errcode.UnknownOutcome, "no answer in time"), ctx.Err())
		case ctx.Err() != nil:
			return res, err
		case !elsewhere(err):
			return res, err
		}
		if sent && c.catalog.Applied() > from+catalog.RequestsKept/2 {
			return res, errcode.New(errcode.UnknownOutcome, "the leader was lost, and by now its successors may have forgotten the request")
		}
		pause(ctx, proposeRetry)
	}
}

// elsewhere tells whether a request may be made again, and may find a leader then: it was certainly not carried out, or it may have
// been, but its id keeps it from being applied twice (see record). What failed in any other way, here or there, is not repeated.
func elsewhere(err error) bool {
	if rpc.NotSent(err) || unknown(err) {
		return true
	}
	e, numbered := errors.AsType[*errcode.Error](err)
	return numbered && notCarriedOut(e.Code)
}

// unknown tells whether a request may have been carried out, now or later.
func unknown(err error) bool { return rpc.Unknown(err) || errcode.Is(err, errcode.UnknownOutcome) }

// planAgain tells whether a request was refused because the catalog has changed since it was planned.
func planAgain(err error) bool {
	for _, code := range []errcode.Code{errcode.TermMismatch, errcode.RaftLogCompacted, errcode.CASNoSuchRaftIndex,
		errcode.CASConflictFound, errcode.CASEntryTermMismatch, errcode.ProposalDropped, errcode.RaftLogUnavailable} {
		if errcode.Is(err, code) {
			return true
		}
	}
	return false
}

// recordAt makes the request of the leader once.
func (i *Instance) recordAt(ctx context.Context, c *core, req *catalogrunner.Request) (catalog.Result, error) {
	if c.catalogLoop.Status().Role == raftgroup.RoleLeader {
		again := &catalogrunner.Request{Ops: req.Ops, Predicate: req.Predicate, Initiator: req.Initiator, ID: req.ID}
		return c.catalog.Do(ctx, again)
	}
	address := i.catalogLeader(c)
	if address == "" {
		return catalog.Result{}, errcode.New(errcode.LeaderUnknown)
	}
	ctx, cancel := context.WithTimeout(ctx, askedTimeout)
	defer cancel()
	message, err := wire.CAS{
		Header: i.header(c), Ops: req.Ops, Predicate: req.Predicate, Initiator: req.Initiator, ID: req.ID,
	}.Append(nil)
	if err != nil {
		return catalog.Result{}, err
	}
	b, err := i.pool.Call(ctx, address, wire.ProcCAS, message)
	if err != nil {
		return catalog.Result{}, err
	}
	res, err := wire.DecodeResult(b)
	if err != nil {
		return res, errcode.New(errcode.UnknownOutcome, "the leader's answer can not be read")
	}
	return res, nil
}
