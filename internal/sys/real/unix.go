package real

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// socketPathMax is the longest path that a socket address holds, its end marker not counted.
const socketPathMax = 107

// ListenUnix listens on a unix socket. A path that is too long for a socket address is reached through its directory.
// The file stays when the listener is closed: whoever owns the directory removes it before the next start.
func ListenUnix(path string) (net.Listener, error) {
	var l net.Listener
	err := withShortPath(path, func(short string) (err error) {
		l, err = net.Listen("unix", short)
		return err
	})
	if err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	return l, nil
}

// DialUnix connects to a unix socket, whatever the length of its path.
func DialUnix(ctx context.Context, path string) (net.Conn, error) {
	var c net.Conn
	err := withShortPath(path, func(short string) (err error) {
		var d net.Dialer
		c, err = d.DialContext(ctx, "unix", short)
		return err
	})
	return c, err
}

func withShortPath(path string, use func(string) error) error {
	if len(path) <= socketPathMax {
		return use(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}
