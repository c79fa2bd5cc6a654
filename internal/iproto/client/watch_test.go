package client

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/lycosadb/lycosa/internal/iproto/server"
)

func TestWatcher(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := server.New(server.Options{Backend: &backend{}, OpenKeys: []string{"k", "other"}})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	ctx := context.Background()
	c, err := Dial(ctx, l.Addr().String(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Watch("k")
	if err != nil {
		t.Fatal(err)
	}
	next := func(want string) {
		t.Helper()
		if v, err := w.Next(ctx); err != nil || string(v) != want {
			t.Fatalf("%x, %v, want %x", v, err, want)
		}
	}
	next("")
	srv.Broadcast("k", []byte{1})
	next("\x01")
	srv.Broadcast("other", []byte{7})
	srv.Broadcast("k", []byte{2})
	next("\x02")
	if v, err := c.WatchOnce(ctx, "other"); err != nil || string(v) != "\x07" {
		t.Errorf("once: %x, %v", v, err)
	}
	if v, err := c.WatchOnce(ctx, "k"); err != nil || string(v) != "\x02" {
		t.Errorf("once: %x, %v", v, err)
	}
	if _, err := c.WatchOnce(ctx, "closed"); err == nil {
		t.Error("a key for others")
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := w.Next(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("nothing new: %v", err)
	}
	w.Close()
	if err := c.Ping(ctx); err != nil || srv.Watched("k") != 0 {
		t.Errorf("after Close: %v, %d watches", err, srv.Watched("k"))
	}
	if w, err = c.Watch("k"); err != nil {
		t.Fatal(err)
	}
	next("\x02")
	if err := srv.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	var failure *ConnError
	if _, err := w.Next(ctx); !errors.As(err, &failure) {
		t.Errorf("after the end: %v", err)
	}
	c.Close()
	if _, err := c.Watch("k"); !errors.As(err, &failure) {
		t.Errorf("watch after the end: %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
