// Package httpd serves the instance's documents, health and metrics over HTTP, in every stage and state. Effects: it
// accepts connections and writes to them and to the log. It decides nothing about the instance and changes nothing:
// what it shows comes from a Source and a registry of metrics. Binding the port, and trying again when it is taken, is
// the caller's.
package httpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// Limits of the server.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 60 * time.Second
	headerBytesMax    = 16 << 10
	bodyBytesMax      = 1 << 20
	pathBytesMax      = 1 << 10
	connectionsMax    = 512
)

// Source gives what is shown. Its methods are called from many goroutines at once, must not block, and return values
// that nobody changes afterwards.
type Source interface {
	// Instance is known in every state.
	Instance() Instance
	// Lifecycle returns the history, oldest record first.
	Lifecycle() []lifecycle.Record
	// Cluster is known from Postjoin on; before, ok is false.
	Cluster() (doc Cluster, ok bool)
	// Governor is known from Postjoin on; before, ok is false.
	Governor() (doc Governor, ok bool)
	Health() Health
}

// Options are what a Server is made of. All are needed.
type Options struct {
	Source  Source
	Logger  *slog.Logger
	Metrics *prometheus.Registry
}

// Server is the HTTP server of one process.
type Server struct {
	o      Options
	http   *http.Server
	routes map[string]route
}

// New makes a server that does not listen yet.
func New(o Options) *Server {
	s := &Server{o: o}
	s.routes = s.table()
	s.http = &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytesMax,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// Serve accepts connections until Shutdown or Close, which make it return nil. It closes the listener.
func (s *Server) Serve(l net.Listener) error {
	err := s.http.Serve(limitListener(l, connectionsMax))
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("httpd: serve %s: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown lets requests in flight end, until the context does.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("httpd: shutdown: %w", err), s.http.Close())
	}
	return nil
}

// Handler returns all routes with recovery, limits and security headers, as they are served.
func (s *Server) Handler() http.Handler {
	return s.recovered(secured(http.HandlerFunc(s.dispatch)))
}
