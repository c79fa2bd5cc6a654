package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/lycosadb/lycosa/internal/sys/real"
)

// bindRetry is how long a taken port is tried again before the start fails, and bindPause the time between tries.
const (
	bindRetry = 5 * time.Second
	bindPause = 100 * time.Millisecond
)

// sockets are the addresses that the process holds from its start.
type sockets struct {
	iproto net.Listener
	swim   net.PacketConn
	http   net.Listener // nil unless asked for
	admin  net.Listener
}

// bind binds the TCP and UDP sockets of the advertised protocols, HTTP if it is asked for, and the admin socket. The
// latter two come first, so that a failure of the others can be looked at through them.
func (i *Instance) bind(ctx context.Context) error {
	var err error
	if i.sockets.admin, err = listenAdmin(i.cfg.AdminSocketPath()); err != nil {
		return &bindError{"data-dir", i.cfg.AdminSocketPath(), err}
	}
	go i.serveAdmin()
	if i.cfg.HTTPListen != "" {
		if i.sockets.http, err = retryBind(ctx, i, "http-listen", i.cfg.HTTPListen, listenTCP); err != nil {
			return err
		}
		go i.serveHTTP()
	}
	if i.sockets.iproto, err = retryBind(ctx, i, "listen", i.cfg.Listen, listenTCP); err != nil {
		return err
	}
	if i.sockets.swim, err = retryBind(ctx, i, "listen", i.sockets.iproto.Addr().String(), listenUDP); err != nil {
		return err
	}
	go i.serveIproto()
	return nil
}

// bindError is an address that could not be had.
type bindError struct {
	parameter, address string
	err                error
}

// Error says what to do about it.
func (e *bindError) Error() string {
	hint := ""
	if errors.Is(e.err, syscall.EADDRINUSE) {
		hint = fmt.Sprintf("; another process uses it: stop that one or give another --%s", e.parameter)
	}
	return fmt.Sprintf("can not bind %s: %v%s", e.address, e.err, hint)
}

func (e *bindError) Unwrap() error { return e.err }

func listenTCP(address string) (net.Listener, error)   { return net.Listen("tcp", address) }
func listenUDP(address string) (net.PacketConn, error) { return net.ListenPacket("udp", address) }

// retryBind tries an address that is taken for a while: the process before may just be going.
func retryBind[L any](ctx context.Context, i *Instance, parameter, address string, listen func(string) (L, error)) (L, error) {
	var none L
	deadline := time.NewTimer(bindRetry)
	defer deadline.Stop()
	for {
		l, err := listen(address)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			if err != nil {
				err = &bindError{parameter, address, err}
			}
			return l, err
		}
		i.life.wait(fmt.Sprintf("waiting for address %s, which another process uses", address))
		pause := time.NewTimer(bindPause)
		select {
		case <-pause.C:
		case <-deadline.C:
			pause.Stop()
			return none, &bindError{parameter, address, err}
		case <-ctx.Done():
			pause.Stop()
			return none, ctx.Err()
		}
	}
}

// listenAdmin binds the admin socket. The lock of the data directory is ours, so a socket file that is there is a leftover.
func listenAdmin(path string) (net.Listener, error) {
	if err := syscall.Unlink(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	return real.ListenUnix(path)
}

func (i *Instance) serveHTTP() {
	if err := i.http.Serve(i.sockets.http); err != nil {
		i.log.Error("HTTP server ended", "error", err)
	}
}

func (i *Instance) serveIproto() {
	if err := i.server.Serve(i.sockets.iproto); err != nil {
		i.log.Error("iproto server ended", "error", err)
	}
}

func (i *Instance) serveAdmin() {
	if err := i.server.ServeAs(i.sockets.admin, adminUser); err != nil {
		i.log.Error("admin socket ended", "error", err)
	}
}

// closeSockets gives the addresses back; what the servers own they have closed.
func (i *Instance) closeSockets() {
	if i.sockets.swim != nil {
		i.sockets.swim.Close()
	}
	if i.sockets.admin != nil {
		if err := i.fs.Remove(i.cfg.AdminSocketPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
			i.log.Debug("the admin socket stays", "error", err)
		}
	}
}

// connectionsWanted is the number of connections of clients that are taken, filesKept how many open files are left for
// others: logs, snapshots, HTTP.
const (
	connectionsWanted = 10_000
	filesKept         = 640
)

// connectionsMax is how many connections the limit of open files allows. A log that can not open its next file stops the
// process; a client that is refused comes again.
func (i *Instance) connectionsMax() int {
	files, err := real.OpenFilesMax()
	if err != nil {
		i.log.Warn("the limit of open files is not known", "error", err)
		return connectionsWanted
	}
	n := connectionsFor(files)
	if n < connectionsWanted {
		i.log.Warn("the limit of open files allows fewer connections than usual: raise it (ulimit -n, LimitNOFILE=)",
			"files", files, "connections", n)
	}
	return n
}

func connectionsFor(files uint64) int {
	n := files / 8
	if files > filesKept {
		n = max(n, files-filesKept)
	}
	return int(min(n, connectionsWanted))
}
