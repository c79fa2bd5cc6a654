package test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// notification reads one message of a supervisor to its service manager.
func notification(t testing.TB, c *net.UnixConn) string {
	t.Helper()
	buf := make([]byte, 4096)
	if err := c.SetReadDeadline(time.Now().Add(waitStart)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(buf)
	if err != nil {
		t.Fatalf("no message of the supervisor: %v", err)
	}
	return string(buf[:n])
}

// BenchmarkBoot takes an empty directory to RolesConfigured and grade Online, which the supervisor tells with READY=1.
func BenchmarkBoot(b *testing.B) {
	socket := filepath.Join(b.TempDir(), "n")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var total time.Duration
	for b.Loop() {
		o := options{dir: filepath.Join(b.TempDir(), "data"), env: []string{"NOTIFY_SOCKET=" + socket}}
		started := time.Now()
		p := startInstance(b, o)
		for !strings.Contains(notification(b, c), "READY=1") {
		}
		total += time.Since(started)
		p.signal(15)
		for !strings.Contains(notification(b, c), "STOPPING=1") {
		}
		p.ended(waitStop)
	}
	b.ReportMetric(float64(total.Milliseconds())/float64(b.N), "ms/boot")
}
