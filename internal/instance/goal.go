package instance

import (
	"context"
	"errors"
	"time"

	"github.com/lycosadb/lycosa/internal/raftgroup/wal"
)

// goalTimeout bounds one question to a quorum, after which the wait for it is shown.
const goalTimeout = time.Second

// goal is how far a replica has to come before it counts as connected: what was committed in each group when a quorum was
// asked. What a replica knows of that by itself may be no more than its own log.
type goal struct {
	known         bool
	data, catalog uint64
}

// indexReader asks a quorum of a group.
type indexReader interface {
	ReadIndex(ctx context.Context) (index uint64, err error)
}

// ask asks a quorum of both groups, and names the one that has none, if one has not.
func (g *goal) ask(ctx context.Context, catalog, data indexReader) (missing string, err error) {
	for _, q := range []struct {
		name  string
		group indexReader
		to    *uint64
	}{{catalogName, catalog, &g.catalog}, {dataName, data, &g.data}} {
		asked, cancel := context.WithTimeout(ctx, goalTimeout)
		*q.to, err = q.group.ReadIndex(asked)
		cancel()
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case errors.Is(err, wal.ErrClosed): // the loop has ended, which somebody else tells
			return "", nil
		case err != nil:
			return q.name, nil
		}
	}
	g.known = true
	return "", nil
}
