package importer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lycosadb/lycosa/internal/box/dictionary"
	"github.com/lycosadb/lycosa/internal/box/snap"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/sys"
)

// Options say what to bring over, and where to.
type Options struct {
	Source *Source
	// Client is a connection to the cluster as a user who may do everything: admin.
	Client *client.Client
	// Timeout is the longest wait for one answer.
	Timeout time.Duration
	// DryRun writes nothing.
	DryRun bool
	// Replace puts spaces and sequences in the place of those with the same names, SkipExisting leaves these as they are.
	// With neither an existing name is an error.
	Replace, SkipExisting bool
	// Spaces are the names of the spaces to bring over, empty for all.
	Spaces []string
	// Progress is told now and then how far it is.
	Progress func(Progress)
	Clock    sys.Clock
}

// Run imports. The report is never nil and says what was done, also with an error. Errors: those of reading files (93,
// 12020, 219); 12021 for names that exist; 12022 if the cluster refused rows, after all else was done; what the cluster
// or the connection answers, after which spaces may be left under names that tell that they are unfinished.
func Run(ctx context.Context, o Options) (*Report, error) {
	began := o.Clock.Boot()
	report := &Report{DryRun: o.DryRun, Logs: []string{}, Spaces: []SpaceReport{}, Users: []string{}, Sequences: []string{}, Notes: []Note{}}
	p, err := run(ctx, o, report)
	report.Snapshot, report.Logs = o.Source.Snapshot, append(report.Logs, o.Source.Logs...)
	if p != nil {
		for _, sp := range p.order {
			report.Spaces = append(report.Spaces, *sp.report)
		}
	}
	if n := report.Refused(); err == nil && n > 0 {
		err = errcode.New(errcode.ImportRefused, n)
	}
	report.Whole = err == nil && !o.DryRun
	report.Seconds = (o.Clock.Boot() - began).Seconds()
	return report, err
}

func run(ctx context.Context, o Options, report *Report) (*plan, error) {
	c, err := o.Source.scan(ctx, o.Progress)
	if err != nil {
		return nil, err
	}
	report.Version = c.version
	t := &cluster{c: o.Client, timeout: o.Timeout}
	x, err := t.look(ctx)
	if err != nil {
		return nil, err
	}
	p := newPlan(c, x, o, report)
	if err := p.make(); err != nil {
		return nil, err
	}
	report.Begun = true
	if o.DryRun {
		return p, p.try(ctx)
	}
	l := &loader{builder: newBuilder(p, t), t: t, now: newState()}
	err = l.run(ctx)
	l.finishNotes()
	return p, err
}

// try makes the dictionary of the end in an engine of its own.
func (p *plan) try(ctx context.Context) error {
	w, err := newProbe()
	if err != nil {
		return err
	}
	defer w.close()
	made := newBuilder(p, w)
	b := &made
	for _, row := range p.newUsers {
		p.userRow(row)
		p.report.Users = append(p.report.Users, strAt(row, 2))
	}
	for _, sp := range p.order {
		if err := b.space(ctx, sp, sp.row); err != nil {
			return err
		}
		for _, row := range p.final.all(dictionary.SpaceIndex) {
			if uint32(uintAt(row, 0)) == sp.report.SourceID && sp.live() {
				if err := b.index(ctx, sp, row); err != nil {
					return err
				}
			}
		}
		if sp.live() {
			sp.report.State = statePlanned
		}
	}
	for system := range constraintFields {
		for _, row := range p.final.all(system) {
			if err := b.constraint(ctx, system, nil, row); err != nil {
				return err
			}
		}
	}
	for _, row := range p.newSequences {
		if err := b.sequence(ctx, row); err != nil {
			return err
		}
	}
	for _, sp := range p.order {
		if err := b.bind(ctx, sp); err != nil {
			return err
		}
	}
	if err := b.grants(ctx); err != nil {
		return err
	}
	b.finishNotes()
	return nil
}

// loader repeats on the cluster what happened on the source.
type loader struct {
	builder
	t *cluster
	// now is what the source's system spaces held at the row that is being read.
	now     *state
	pending []pending
	bytes   int
	rows    uint64
}

// pending is a statement whose answer has not come yet.
type pending struct {
	answer *client.Future
	space  *spacePlan
	kind   iproto.Type
	bytes  int
}

// The window of statements on their way: by number, and by bytes.
const (
	windowMax      = 4096
	windowBytesMax = 16 << 20
)

func (l *loader) run(ctx context.Context) error {
	for name, id := range l.leftovers {
		if err := l.dropExisting(ctx, id); err != nil {
			return fmt.Errorf("remove what an interrupted import has left (%s): %w", name, err)
		}
		l.note("space", name, "removed", "an import was interrupted; the space is imported anew")
	}
	if err := l.writeUsers(ctx); err != nil {
		return fmt.Errorf("make users: %w", err)
	}
	if err := l.o.Source.walk(ctx, func(at place, row *snap.Row) error { return l.visit(ctx, at, row) }); err != nil {
		return err
	}
	if err := l.settle(ctx, 0); err != nil {
		return err
	}
	return l.finish(ctx)
}

func (l *loader) writeUsers(ctx context.Context) error {
	// Roles and users may own each other; the owner must be there first.
	for waiting := l.newUsers; len(waiting) > 0; {
		var later [][]byte
		for _, row := range waiting {
			if l.ownerWaits(row, waiting) {
				later = append(later, row)
				continue
			}
			name := strAt(row, 2)
			_, reason, err := l.offer(ctx, dictionary.SpaceUser, []variant{{row: l.userRow(row)}})
			if err != nil {
				return err
			}
			if reason != "" {
				delete(l.users, uint32(uintAt(row, 0)))
				l.note("user", name, stateLeftOut, "%s", reason)
				continue
			}
			l.report.Users = append(l.report.Users, name)
		}
		if len(later) == len(waiting) {
			return fmt.Errorf("user %s is owned by itself through others", strAt(later[0], 2))
		}
		waiting = later
	}
	return nil
}

// ownerWaits tells whether the owner of a user is another user who is not there yet.
func (l *loader) ownerWaits(row []byte, waiting [][]byte) bool {
	return slices.ContainsFunc(waiting, func(other []byte) bool {
		return uintAt(other, 0) == uintAt(row, 1) && uintAt(other, 0) != uintAt(row, 0)
	})
}

// visit repeats one row.
func (l *loader) visit(ctx context.Context, at place, row *snap.Row) error {
	if l.rows++; l.rows%rowsBetweenLooks == 0 {
		l.o.Progress(Progress{Stage: "writing", Rows: l.rows, Done: float64(l.rows) / float64(max(l.content.rows, 1))})
	}
	if row.SpaceID >= dictionary.UserIDMin {
		if sp := l.spaces[row.SpaceID]; sp != nil && sp.accepted != nil && sp.live() && l.now.births[row.SpaceID] == sp.births {
			return l.send(ctx, sp, row)
		}
		return nil
	}
	before, after, err := l.now.apply(row)
	if err != nil {
		return errFile(at.path, "block at offset %d: %v", at.offset, err)
	}
	changed := after
	if changed == nil {
		changed = before
	}
	subject := 0
	if fields, ok := constraintFields[row.SpaceID]; ok {
		subject = fields[0]
	}
	sp := l.spaces[uint32(uintAt(changed, subject))]
	if changed == nil || sp == nil || !sp.live() || l.now.births[sp.report.SourceID] != sp.births {
		return nil
	}
	switch row.SpaceID {
	case dictionary.SpaceSpace, dictionary.SpaceIndex, dictionary.SpaceTruncate, dictionary.SpaceCKConstraint, dictionary.SpaceFKConstraint:
	default:
		return nil
	}
	if err := l.settle(ctx, 0); err != nil {
		return err
	}
	return l.define(ctx, sp, at, row.SpaceID, before, after)
}

// define repeats a change of the dictionary.
func (l *loader) define(ctx context.Context, sp *spacePlan, at place, space uint32, before, after []byte) error {
	switch {
	case space == dictionary.SpaceSpace && after != nil:
		return l.space(ctx, sp, after)
	case sp.accepted == nil:
	case space == dictionary.SpaceCKConstraint, space == dictionary.SpaceFKConstraint:
		return l.constraint(ctx, space, before, after)
	case space == dictionary.SpaceIndex && after != nil:
		return l.index(ctx, sp, after)
	case space == dictionary.SpaceIndex:
		if uintAt(before, 1) == 0 {
			sp.guess = 0
		}
		return l.dropIndex(ctx, sp, uint32(uintAt(before, 1)))
	case space == dictionary.SpaceTruncate && after != nil && at.log:
		sp.guess = 0
		return l.t.replace(ctx, dictionary.SpaceTruncate, numbers(sp.report.ID, uint32(uintAt(after, 1))))
	}
	return nil
}

// send sends a statement, and waits for answers if too many are on their way.
func (l *loader) send(ctx context.Context, sp *spacePlan, row *snap.Row) error {
	size := len(row.Tuple) + len(row.Key) + len(row.Ops)
	for len(l.pending) >= windowMax || l.bytes+size > windowBytesMax && len(l.pending) > 0 {
		if err := l.settle(ctx, len(l.pending)/2); err != nil {
			return err
		}
	}
	kind, build := statement(sp.report.ID, row)
	answer, err := l.t.c.Send(ctx, kind, build)
	if err != nil {
		return err
	}
	l.pending = append(l.pending, pending{answer: answer, space: sp, kind: kind, bytes: size})
	l.bytes += size
	return nil
}

// statement makes the request that repeats a row.
func statement(space uint32, row *snap.Row) (iproto.Type, client.Builder) {
	change := iproto.ChangeArgs{Space: space, IndexBase: row.IndexBase, Key: row.Key, Tuple: row.Tuple, Ops: row.Ops}
	switch row.Type {
	case snap.TypeInsert, snap.TypeReplace:
		kind := iproto.TypeInsert
		if row.Type == snap.TypeReplace {
			kind = iproto.TypeReplace
		}
		return kind, func(dst []byte, sync uint64) []byte { return iproto.AppendInsert(dst, kind, sync, space, row.Tuple) }
	case snap.TypeUpdate:
		change.Ops = row.Tuple // where a file has the operations of an update
		return iproto.TypeUpdate, func(dst []byte, sync uint64) []byte { return iproto.AppendUpdate(dst, sync, change) }
	case snap.TypeUpsert:
		return iproto.TypeUpsert, func(dst []byte, sync uint64) []byte { return iproto.AppendUpsert(dst, sync, change) }
	}
	return iproto.TypeDelete, func(dst []byte, sync uint64) []byte { return iproto.AppendDelete(dst, sync, change) }
}

// settle waits until no more than some statements are on their way.
func (l *loader) settle(ctx context.Context, left int) error {
	n := len(l.pending) - left
	for i := range l.pending[:n] {
		p := &l.pending[i]
		reply, err := l.answer(ctx, p.answer)
		l.bytes -= p.bytes
		if err == nil {
			p.count(reply)
			continue
		}
		e := refusal(err)
		if e == nil {
			return fmt.Errorf("space '%s': %w", p.space.report.Name, err)
		}
		if p.space.report.Refused++; p.space.sample == "" {
			p.space.sample = fmt.Sprintf("%s (error %d)", strings.ReplaceAll(e.Message, unfinishedSuffix, ""), e.Code)
		}
	}
	l.pending = l.pending[:copy(l.pending, l.pending[n:])]
	return nil
}

// answer waits for one answer, without a clock if it is there.
func (l *loader) answer(ctx context.Context, f *client.Future) (*iproto.Reply, error) {
	select {
	case <-f.Done():
	default:
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.t.timeout)
		defer cancel()
	}
	return f.Wait(ctx)
}

// count keeps the guess at the number of rows.
func (p *pending) count(reply *iproto.Reply) {
	switch p.kind {
	case iproto.TypeInsert:
		p.space.guess++
	case iproto.TypeDelete:
		if n, _, err := msgpack.ReadArrayLen(reply.Data); err == nil && n > 0 && p.space.guess > 0 {
			p.space.guess--
		}
	}
}

// finish makes spaces whole: sequences and grants, and then one space after the other.
func (l *loader) finish(ctx context.Context) error {
	for _, row := range l.newSequences {
		if err := l.sequence(ctx, row); err != nil {
			return fmt.Errorf("sequence '%s': %w", strAt(row, 2), err)
		}
	}
	if err := l.grants(ctx); err != nil {
		return fmt.Errorf("grants: %w", err)
	}
	for _, sp := range l.order {
		if err := l.finishSpace(ctx, sp); err != nil {
			return fmt.Errorf("space '%s': %w", sp.report.Name, err)
		}
	}
	return l.settings(ctx)
}

// finishSpace counts the rows of a space and gives it its sequence and its name, in the place of the space that has them.
func (l *loader) finishSpace(ctx context.Context, sp *spacePlan) error {
	if !sp.live() || sp.accepted == nil {
		return nil
	}
	var err error
	if sp.indexes[0] {
		if sp.report.Rows, err = l.t.count(ctx, sp.report.ID, sp.guess, sp.report.Snapshot+sp.report.Logs); err != nil {
			return err
		}
	}
	if sp.old != 0 {
		if err := l.dropExisting(ctx, sp.old); err != nil {
			return err
		}
		l.note("space", sp.report.Name, "replaced", "the space number %d of this name is removed, with its rows and the grants on it", sp.old)
	}
	if err := l.bind(ctx, sp); err != nil {
		return err
	}
	row, err := withFields(sp.accepted, map[int][]byte{2: msgpack.AppendStr(nil, sp.report.Name)})
	if err == nil {
		err = l.t.replace(ctx, dictionary.SpaceSpace, row)
	}
	if err == nil {
		sp.report.State = stateWhole
	}
	return err
}

// settings brings over what applications remember in _schema, and the highest number of a space.
func (l *loader) settings(ctx context.Context) error {
	highest := l.x.maxID
	for _, sp := range l.order {
		highest = max(highest, sp.report.ID)
	}
	if highest > l.x.maxID {
		if err := l.t.replace(ctx, dictionary.SpaceSchema, dictionary.MaxIDRow(highest)); err != nil {
			return err
		}
	}
	for _, row := range l.final.all(dictionary.SpaceSchema) {
		if key := strAt(row, 0); strings.HasPrefix(key, "once") && !l.x.once[key] && len(l.o.Spaces) == 0 {
			if err := l.t.replace(ctx, dictionary.SpaceSchema, row); err != nil {
				return err
			}
		}
	}
	return nil
}
