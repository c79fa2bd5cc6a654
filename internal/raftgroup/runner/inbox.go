package runner

import (
	"time"

	"github.com/lycosadb/lycosa/internal/raftgroup"
)

// letter is a message of another replica.
type letter struct {
	m raftgroup.Message
	// answer, if not nil, gets what the group has to say to it at once.
	answer func([]raftgroup.Message)
}

// answersMax bounds the messages of an answer; what is more is sent.
const answersMax = 16

// Step takes a message of another replica; it is dropped when too many wait, which the protocol bears.
func (l *Loop[R]) Step(m raftgroup.Message) {
	select {
	case l.inbox <- letter{m: m}:
	default:
	}
}

// Ask is Step for a message whose sender waits for the answer: what the group has to say to it at once is not sent, but given to
// answer, which is called once, on the loop's goroutine or before Ask returns, and must neither block nor keep the slice. False: it
// will not be called, since other messages wait, and who waits for an answer must not wait for them; the message was taken as by Step.
func (l *Loop[R]) Ask(m raftgroup.Message, answer func([]raftgroup.Message)) bool {
	if len(l.inbox) > 0 {
		l.Step(m)
		return false
	}
	select {
	case l.inbox <- letter{m, answer}:
	default:
		return false
	}
	select {
	case <-l.done:
		l.refuseLetters()
	default:
	}
	return true
}

// refuseLetters answers with nothing what nobody reads any more: done is closed.
func (l *Loop[R]) refuseLetters() {
	for {
		select {
		case in := <-l.inbox:
			if in.answer != nil {
				in.answer(nil)
			}
		default:
			return
		}
	}
}

// hear takes the messages that have come: a leader that has spoken is not to be missed because this process was not scheduled.
func (l *Loop[R]) hear(now time.Duration) {
	for range len(l.inbox) {
		l.receive(now, <-l.inbox)
		l.drain()
	}
}

// receive takes a message, and answers it if that is wanted.
func (l *Loop[R]) receive(now time.Duration, in letter) {
	if in.answer == nil {
		l.step(now, in.m)
		return
	}
	l.asker, l.answers = in.m.From(), l.answers[:0]
	l.step(now, in.m)
	l.drain()
	l.asker = 0
	in.answer(l.answers)
	clear(l.answers)
}

// send gives a message to the transport, or to who waits for an answer of this group.
func (l *Loop[R]) send(m raftgroup.Message) {
	switch {
	case m.To() == l.asker && !m.Bulk() && len(l.answers) < answersMax:
		l.answers = append(l.answers, m)
	case l.cfg.Send != nil:
		l.cfg.Send(m)
	}
}
