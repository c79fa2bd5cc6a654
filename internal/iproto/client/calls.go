package client

import (
	"context"

	"github.com/lycosadb/lycosa/internal/iproto"
)

// call sends a request and waits for its reply.
func (c *Client) call(ctx context.Context, op iproto.Type, build Builder) (*iproto.Reply, error) {
	f, err := c.Send(ctx, op, build)
	if err != nil {
		return nil, err
	}
	return f.Wait(ctx)
}

// data is call for requests whose reply is an array of values, which it returns with its header.
func (c *Client) data(ctx context.Context, op iproto.Type, build Builder) ([]byte, error) {
	r, err := c.call(ctx, op, build)
	if err != nil {
		return nil, err
	}
	return r.Data, nil
}

// Auth logs in with a password, or as guest with an empty user name.
func (c *Client) Auth(ctx context.Context, user string, password []byte) error {
	_, err := c.call(ctx, iproto.TypeAuth, func(dst []byte, sync uint64) []byte {
		if user == "" {
			return iproto.AppendAuth(dst, sync, "guest", nil)
		}
		scramble := iproto.Scramble(password, c.greeting.Salt)
		return iproto.AppendAuth(dst, sync, user, scramble[:])
	})
	return err
}

// Ping asks for an empty reply.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.call(ctx, iproto.TypePing, iproto.AppendPing)
	return err
}

// ID announces the protocol version and features, and returns the server's reply: Version, Features and AuthType.
func (c *Client) ID(ctx context.Context, version uint64, features ...iproto.Feature) (*iproto.Reply, error) {
	return c.call(ctx, iproto.TypeID, func(dst []byte, sync uint64) []byte {
		return iproto.AppendID(dst, sync, version, features...)
	})
}

// Call calls a function; args is a MessagePack array with its header, nil for none. The result is the array of the
// returned values with its header, as of all methods that return bytes.
func (c *Client) Call(ctx context.Context, function string, args []byte) ([]byte, error) {
	return c.data(ctx, iproto.TypeCall, func(dst []byte, sync uint64) []byte {
		return iproto.AppendCall(dst, sync, function, args)
	})
}

// Eval evaluates an expression.
func (c *Client) Eval(ctx context.Context, expr string, args []byte) ([]byte, error) {
	return c.data(ctx, iproto.TypeEval, func(dst []byte, sync uint64) []byte {
		return iproto.AppendEval(dst, sync, expr, args)
	})
}

// Select returns the tuples that match.
func (c *Client) Select(ctx context.Context, a iproto.SelectArgs) ([]byte, error) {
	return c.data(ctx, iproto.TypeSelect, func(dst []byte, sync uint64) []byte {
		return iproto.AppendSelect(dst, sync, a)
	})
}

// Insert inserts a tuple and returns it.
func (c *Client) Insert(ctx context.Context, space uint32, tuple []byte) ([]byte, error) {
	return c.insert(ctx, iproto.TypeInsert, space, tuple)
}

// Replace inserts a tuple or replaces the one with the same primary key, and returns it.
func (c *Client) Replace(ctx context.Context, space uint32, tuple []byte) ([]byte, error) {
	return c.insert(ctx, iproto.TypeReplace, space, tuple)
}

func (c *Client) insert(ctx context.Context, t iproto.Type, space uint32, tuple []byte) ([]byte, error) {
	return c.data(ctx, t, func(dst []byte, sync uint64) []byte {
		return iproto.AppendInsert(dst, t, sync, space, tuple)
	})
}

// Update changes the tuple with a.Key by a.Ops and returns it, or nothing if there is none.
func (c *Client) Update(ctx context.Context, a iproto.ChangeArgs) ([]byte, error) {
	return c.data(ctx, iproto.TypeUpdate, func(dst []byte, sync uint64) []byte {
		return iproto.AppendUpdate(dst, sync, a)
	})
}

// Upsert inserts a.Tuple, or changes the one with the same primary key by a.Ops.
func (c *Client) Upsert(ctx context.Context, a iproto.ChangeArgs) error {
	_, err := c.data(ctx, iproto.TypeUpsert, func(dst []byte, sync uint64) []byte {
		return iproto.AppendUpsert(dst, sync, a)
	})
	return err
}

// Delete deletes the tuple with a.Key and returns it, or nothing if there is none.
func (c *Client) Delete(ctx context.Context, a iproto.ChangeArgs) ([]byte, error) {
	return c.data(ctx, iproto.TypeDelete, func(dst []byte, sync uint64) []byte {
		return iproto.AppendDelete(dst, sync, a)
	})
}
