package config

import (
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/meter"
)

// FuzzLoad gives foreign arguments, environment and files together: an error or a configuration that passes on.
func FuzzLoad(f *testing.F) {
	f.Add("--memory\n64MiB\n--peer=a:1,b:2", "LYCOSA_LISTEN=h:1\nLYCOSA_NO_SUCH=1", "wal-mode: none\n")
	f.Add("--checkpoint-interval\n1h30m\n--no-restart", "LYCOSA_MEMORY=99999999999TiB", "peer: [a:1, b:2]\n")
	f.Add("--failure-domain\na=b,c=d\n--config=x", "LYCOSA_CONFIG=y", "tiers:\n  default: {replication_factor: 3}\n")
	f.Fuzz(func(t *testing.T, args, environ, file string) {
		load := func() (*Config, error) {
			c, _, err := Load(strings.Split(args, "\n"), strings.Split(environ, "\n"), func(string) ([]byte, error) { return []byte(file), nil })
			return c, err
		}
		size := len(args) + len(environ) + len(file)
		meter.CheckBound(t, size, uint64(4<<20+2048*size), func() { _, _ = load() })
		c, err := load()
		if err != nil {
			return
		}
		data, err := c.Export()
		if err != nil {
			t.Fatalf("it can not be handed over: %v", err)
		}
		if _, err := Import(data); err != nil {
			t.Fatalf("it can not be taken over: %v", err)
		}
	})
}
