package instance

import (
	"sync"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto/server"
	"github.com/lycosadb/lycosa/internal/raftgroup"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// Raft messages come in calls of other instances. One that brings heartbeats alone is answered with what the groups say to them, so
// that this needs no call of its own; any other is answered at once with nothing, since the groups' answers wait for the disk.

// answeredMax bounds the heartbeats of a call that is answered so.
const answeredMax = 16

// serveInteract takes a call; done is false if it is answered later.
func (i *Instance) serveInteract(s *server.Session, sync, schema uint64, message, out []byte) (res []byte, done bool) {
	c, in, messages, err := i.admitInteract(message)
	if err != nil {
		return appendAnswer(out, sync, schema, nil, err), true
	}
	ss, ok := s.Local.(*session)
	if ok {
		ss.speaker = in.Header.Address
	}
	if !ok || !heartbeatsOnly(messages) {
		for k, m := range messages {
			c.step(in.Messages[k].Group, m)
		}
		return appendAnswer(out, sync, schema, nil, nil), true
	}
	a := &answers{open: len(messages), send: func(said []wire.GroupMessage) {
		var answer []byte
		if len(said) > 0 {
			answer = wire.Interact{Header: i.header(c), Report: i.reportInAnswer(c, in.Header.Address), Messages: said}.Append(nil)
		}
		s.CompleteNow(appendAnswer(nil, sync, schema, answer, nil))
	}}
	// Not before the server knows that the request is open.
	ss.asks = append(ss.asks, func() {
		for k, m := range messages {
			group := in.Messages[k].Group
			if !c.ask(group, m, func(said []raftgroup.Message) { a.got(group, said) }) {
				a.got(group, nil)
			}
		}
	})
	return out, false
}

// takeAnswer takes what another instance has answered to a call of this one.
func (i *Instance) takeAnswer(address string, answer []byte) {
	c, in, messages, err := i.admitInteract(answer)
	if err != nil {
		i.log.Debug("the answer to raft messages was not taken", "address", address, "error", err)
		return
	}
	for k, m := range messages {
		c.step(in.Messages[k].Group, m)
	}
}

// admitInteract reads a call, or an answer to one, checks who speaks, notes what he reports of himself, and decodes his messages.
func (i *Instance) admitInteract(b []byte) (*core, wire.Interact, []raftgroup.Message, error) {
	in, err := wire.DecodeInteract(b)
	if err != nil {
		return nil, in, nil, err
	}
	c, err := i.admit(in.Header)
	if err != nil {
		return nil, in, nil, err
	}
	if in.Report != nil {
		i.noteReport(c, in.Header, *in.Report)
	}
	messages := make([]raftgroup.Message, len(in.Messages))
	for k, g := range in.Messages {
		if messages[k], err = raftgroup.DecodeMessage(g.Data); err != nil {
			return nil, in, nil, errcode.New(errcode.IllegalParams, err.Error())
		}
	}
	return c, in, messages, nil
}

func heartbeatsOnly(messages []raftgroup.Message) bool {
	for _, m := range messages {
		if !m.Heartbeat() {
			return false
		}
	}
	return 0 < len(messages) && len(messages) <= answeredMax
}

// step gives a message to its group, if it is one of this instance.
func (c *core) step(group uint8, m raftgroup.Message) {
	switch {
	case group == wire.GroupCatalog && m.To() == c.id.RaftID:
		c.catalogLoop.Step(m)
	case group == wire.GroupData && m.To() == c.id.DataRaftID:
		c.dataLoop.Step(m)
	}
}

// ask is step for a message that is answered, see runner.Loop.Ask.
func (c *core) ask(group uint8, m raftgroup.Message, answer func([]raftgroup.Message)) bool {
	switch {
	case group == wire.GroupCatalog && m.To() == c.id.RaftID:
		return c.catalogLoop.Ask(m, answer)
	case group == wire.GroupData && m.To() == c.id.DataRaftID:
		return c.dataLoop.Ask(m, answer)
	}
	return false
}

// answers gathers what the groups of this instance say to a call.
type answers struct {
	mu   sync.Mutex // guards open and said
	open int        // messages that are not answered yet
	said []wire.GroupMessage
	send func([]wire.GroupMessage)
}

// got takes what a group says to one message; with the last one all of it is sent.
func (a *answers) got(group uint8, said []raftgroup.Message) {
	a.mu.Lock()
	for _, m := range said {
		if data, err := m.Append(nil); err == nil {
			a.said = append(a.said, wire.GroupMessage{Group: group, Data: data})
		}
	}
	a.open--
	last := a.open == 0
	a.mu.Unlock()
	if last {
		a.send(a.said)
	}
}

// reportInAnswerEvery is how far apart reports in answers are at least.
const reportInAnswerEvery = 200 * time.Millisecond

// reportInAnswer is what the catalog's leader is told with an answer, nil for nothing and for others. One that is lost does not
// matter: another one follows.
func (i *Instance) reportInAnswer(c *core, address string) *wire.Report {
	now := int64(i.clock.Boot())
	last := c.reports.answered.Load()
	if address != i.catalogLeader(c) || now-last < int64(reportInAnswerEvery) || !c.reports.answered.CompareAndSwap(last, now) {
		return nil
	}
	return c.reports.own.Load()
}
