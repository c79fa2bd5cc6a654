package fault

import (
	"sync"
	"time"

	"github.com/lycosadb/lycosa/internal/sys"
)

// Clock is moved by hand. Its zero value stands at the zero time.
type Clock struct {
	// mu guards wall and boot.
	mu   sync.Mutex
	wall time.Time
	boot time.Duration
}

var _ sys.Clock = (*Clock)(nil)

// NewClock makes a clock that shows wall.
func NewClock(wall time.Time) *Clock { return &Clock{wall: wall} }

// Wall is the time of day.
func (c *Clock) Wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

// Boot is the time since the machine started.
func (c *Clock) Boot() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot
}

// Advance moves both.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.boot = c.wall.Add(d), c.boot+d
}

// Jump moves the time of day alone, as an operator or NTP does.
func (c *Clock) Jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}
