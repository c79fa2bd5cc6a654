package supervisor

import (
	"net"
	"os"
	"strconv"
	"strings"
)

// Notifier tells systemd about this process. The zero value tells nobody.
type Notifier struct {
	address  string
	watchdog bool
}

// NewNotifier reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID from an environment as os.Environ gives it.
func NewNotifier(environ []string) Notifier {
	var n Notifier
	pid := strconv.Itoa(os.Getpid())
	watchdogPID := pid
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch name {
		case "NOTIFY_SOCKET":
			n.address = value
		case "WATCHDOG_USEC":
			n.watchdog = value != "" && value != "0"
		case "WATCHDOG_PID":
			watchdogPID = value
		}
	}
	n.watchdog = n.watchdog && watchdogPID == pid
	return n
}

// send tells one state; that nobody listens is no failure of ours.
func (n Notifier) send(state string) {
	if n.address == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.address, Net: "unixgram"})
	if err != nil {
		return
	}
	_, _ = conn.Write([]byte(state))
	_ = conn.Close()
}

func (n Notifier) ready()    { n.send("READY=1") }
func (n Notifier) stopping() { n.send("STOPPING=1") }

// status shows one line; newlines would be further assignments.
func (n Notifier) status(text string) {
	n.send("STATUS=" + strings.NewReplacer("\n", " ", "\r", " ").Replace(text))
}

func (n Notifier) alive() {
	if n.watchdog {
		n.send("WATCHDOG=1")
	}
}

// withoutNotify removes the variables that are meant for this process only, and secrets that the child gets by pipe.
func withoutNotify(environ []string) []string {
	var kept []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		switch name {
		case "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LYCOSA_ADMIN_PASSWORD":
		default:
			kept = append(kept, entry)
		}
	}
	return kept
}
