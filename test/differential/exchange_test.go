package differential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// request is one request as both servers get it.
type request struct {
	kind iproto.Type
	// space is the user space that the request is about, 0 if that cannot be told.
	space uint32
	// body is the whole body map; nil sends a frame without one.
	body []byte
	// unordered marks reads whose order is not part of the contract: the result is compared as a set.
	unordered bool
	// countOnly marks reads of which even the choice of rows is not: only their number is compared.
	countOnly bool
	// hashed marks writes about a space whose rows lie in a hash.
	hashed bool
}

func (r *request) isRead() bool { return r.kind == iproto.TypeSelect }

func (r *request) frame(dst []byte, sync uint64) []byte {
	dst, mark := iproto.BeginRequest(dst, r.kind, sync)
	return iproto.EndRequest(append(dst, r.body...), mark)
}

// answer is what one server said.
type answer struct {
	// body is the body of a reply without an error.
	body []byte
	err  *errcode.Error
}

// rows returns the tuples of the answer.
func (a *answer) rows() [][]byte {
	if a.err != nil || len(a.body) == 0 {
		return nil
	}
	var r iproto.Reply
	if err := iproto.DecodeReply(append([]byte{0x80}, a.body...), &r); err != nil || r.Data == nil {
		return nil
	}
	n, b, err := msgpack.ReadArrayLen(r.Data)
	if err != nil {
		return nil
	}
	rows := make([][]byte, 0, n)
	for range n {
		size := msgpack.SizeTrusted(b)
		rows = append(rows, b[:size:size])
		b = b[size:]
	}
	return rows
}

// outcome is a request with both answers.
type outcome struct {
	request
	reference, ours answer
}

// exchange sends the requests, all at once, to both servers and waits for all answers.
func (p *pair) exchange(batch []request) ([]outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), waitReply)
	defer cancel()
	type result struct {
		answers []answer
		err     error
	}
	results := make(chan result, 1)
	go func() {
		answers, err := sendAll(ctx, p.ours, batch)
		results <- result{answers, err}
	}()
	reference, err := sendAll(ctx, p.reference, batch)
	ours := <-results
	if err != nil {
		return nil, fmt.Errorf("tarantool: %w", err)
	}
	if ours.err != nil {
		return nil, fmt.Errorf("our server: %w", ours.err)
	}
	out := make([]outcome, len(batch))
	for i := range batch {
		out[i] = outcome{batch[i], reference[i], ours.answers[i]}
	}
	return out, nil
}

func sendAll(ctx context.Context, c *client.Client, batch []request) ([]answer, error) {
	futures := make([]*client.Future, len(batch))
	for i := range batch {
		f, err := c.Send(ctx, batch[i].kind, batch[i].frame)
		if err != nil {
			return nil, err
		}
		futures[i] = f
	}
	answers := make([]answer, len(batch))
	for i, f := range futures {
		reply, err := f.Wait(ctx)
		var refused *errcode.Error
		switch {
		case err == nil:
			answers[i] = answer{body: reply.Body}
		case errors.As(err, &refused):
			answers[i] = answer{err: refused}
		default:
			return nil, fmt.Errorf("%s: %w", batch[i].String(), err)
		}
	}
	return answers, nil
}

// same compares the two answers deeply.
func (o *outcome) same() bool {
	a, b := &o.reference, &o.ours
	if a.err != nil || b.err != nil {
		return a.err != nil && b.err != nil && errorText(a.err) == errorText(b.err)
	}
	switch {
	case o.countOnly:
		return len(a.rows()) == len(b.rows())
	case o.unordered:
		return sameSet(a.rows(), b.rows())
	}
	return bytes.Equal(a.body, b.body)
}

func sameSet(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	seen := make(map[string]int, len(a))
	for _, row := range a {
		seen[string(row)]++
	}
	for _, row := range b {
		if seen[string(row)]--; seen[string(row)] < 0 {
			return false
		}
	}
	return true
}

// errorText renders an error with everything that a client can see of it.
func errorText(e *errcode.Error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "error %d %s: %s", e.Code, e.Class(), e.Message)
	for _, f := range e.Fields {
		fmt.Fprintf(&b, " {%s: %s}", f.Name, f.Value)
	}
	var cause *errcode.Error
	if errors.As(e.Cause, &cause) {
		b.WriteString(" <- " + errorText(cause))
	}
	return b.String()
}
