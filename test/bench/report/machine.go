package report

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// FirstLine runs a program and returns the first line of what it prints.
func FirstLine(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line, nil
}

// CPUModel names the first processor.
func CPUModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.SplitSeq(string(text), "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// Kernel is the version of Linux.
func Kernel() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(text))
}

// LoadAverage is how many processes wanted a processor in the last 1, 5 and 15 minutes.
func LoadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	words := strings.Fields(string(text))
	return strings.Join(words[:min(3, len(words))], " ")
}

// CleanEnviron is the environment without what our program reads.
func CleanEnviron() []string {
	var kept []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "LYCOSA_") && !strings.HasPrefix(e, "NOTIFY_SOCKET=") {
			kept = append(kept, e)
		}
	}
	return kept
}

// The ports of servers are below the range from which the kernel takes ports for outgoing connections: one that polls such
// a port while nobody listens may at last be connected to itself.
const (
	portFirst = 12_000
	portCount = 20_000
)

// Ports gives out loopback addresses. The zero value is ready.
type Ports struct {
	tried int
}

// Free returns a loopback address that nobody listens on, by TCP and UDP, and that it has not given out before.
func (p *Ports) Free() (string, error) {
	for range portCount {
		p.tried++
		address := fmt.Sprintf("127.0.0.1:%d", portFirst+(os.Getpid()*97+p.tried)%portCount)
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", address)
		_ = l.Close()
		if err == nil {
			return address, u.Close()
		}
	}
	return "", errors.New("no free port")
}
