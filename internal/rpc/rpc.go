// Package rpc calls procedures of other instances: one connection of the binary protocol for each address, opened when it is
// needed, logged in, shared by all calls, closed when nobody needs it. Effects: network, goroutines, clock. What is said is
// package wire's; whether a call is repeated is decided by its caller, who is told what can have become of it.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// Options of a Pool. User and Password must be given.
type Options struct {
	// User logs in with what Password returns, which is asked for at each new connection.
	User     string
	Password func() []byte
	Logger   *slog.Logger
	// Dial opens a connection; by default TCP. Its errors count as not sent.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// OnLost is told that the other side has ended a connection that was in use: its process may be gone. It must not block.
	OnLost func(address string)
	// DialTimeout bounds opening a connection and logging in (2 s).
	DialTimeout time.Duration
	// RetryMin and RetryMax bound the pause after a connection that failed (50 ms, 1 s): it doubles with every fourth
	// failure, so that an instance that starts is found soon, however long it was away.
	RetryMin, RetryMax time.Duration
	// Silence is how long a connection may bring nothing although calls wait (1 s); then it is pinged, and cut if that has
	// no answer within twice as long.
	Silence time.Duration
	// IdleTimeout is how long a connection without calls is kept (1 min).
	IdleTimeout time.Duration
	// InFlight bounds the calls of one connection that wait for their answers (4,096); more wait for their turn.
	InFlight int
}

const (
	dialTimeoutDefault = 2 * time.Second
	retryMinDefault    = 50 * time.Millisecond
	retryMaxDefault    = time.Second
	silenceDefault     = time.Second
	idleDefault        = time.Minute
	inFlightDefault    = 4096
	// addressesMax is the number of addresses from which on those without a connection are forgotten.
	addressesMax = 4096
)

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = dialTCP
	}
	if o.OnLost == nil {
		o.OnLost = func(string) {}
	}
	for _, d := range []struct {
		value *time.Duration
		dflt  time.Duration
	}{
		{&o.DialTimeout, dialTimeoutDefault}, {&o.RetryMin, retryMinDefault}, {&o.RetryMax, retryMaxDefault},
		{&o.Silence, silenceDefault}, {&o.IdleTimeout, idleDefault},
	} {
		if *d.value <= 0 {
			*d.value = d.dflt
		}
	}
	if o.InFlight <= 0 {
		o.InFlight = inFlightDefault
	}
	return o
}

func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}

// ErrClosed is in the chain of the errors of calls on a pool that is closed.
var ErrClosed = errors.New("the pool of connections is closed")

// Error is a call without an answer. An error that the other side answered is an *errcode.Error instead.
type Error struct {
	Address, Procedure string
	// Sent tells that the call was, or may have been, given to the network: it may be carried out, now or later. A call that an
	// instance which stops has not read counts as not sent.
	Sent bool
	Err  error
}

// Error tells who was asked for what, what failed, and whether the outcome is known.
func (e *Error) Error() string {
	if e.Sent {
		return fmt.Sprintf("rpc: %s at %s: %v (the outcome is unknown)", e.Procedure, e.Address, e.Err)
	}
	return fmt.Sprintf("rpc: %s at %s: %v (not sent)", e.Procedure, e.Address, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// NotSent reports that a call was surely not sent: it may be made again, here or elsewhere.
func NotSent(err error) bool {
	var e *Error
	return errors.As(err, &e) && !e.Sent
}

// Unknown reports that a call was sent, or may have been, and has no answer: it may be carried out, now or later.
func Unknown(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Sent
}

// Answered returns the error with which the other side has answered a call, nil if err is something else.
func Answered(err error) *errcode.Error {
	var call *Error
	var answer *errcode.Error
	if errors.As(err, &call) || !errors.As(err, &answer) {
		return nil
	}
	return answer
}
