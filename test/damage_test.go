package test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestOlderSnapshot: a damaged newest snapshot is passed over where the older one and the log hold everything. It is set
// aside, so that it is not taken for a snapshot later.
func TestOlderSnapshot(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	s := createSpace(t, p.admin(), 600, "t1")
	snapshot := func() {
		t.Helper()
		do(t, "snapshot")(s.c.Call(context.Background(), "box.snapshot", nil))
	}
	for n := range 300 {
		s.insert(list{n, "some text"})
		if n%100 == 99 {
			snapshot()
		}
	}
	want := s.json()
	for range 2 {
		p.stop()
		found, err := filepath.Glob(filepath.Join(p.dir, "data/*.snap"))
		if err != nil || len(found) != 2 {
			t.Fatalf("snapshots %v, %v", found, err)
		}
		newest := slices.Max(found)
		flip(t, newest, 1<<20)
		p = p.again()
		p.online()
		s = table{t, p.admin(), 600}
		if got := s.json(); got != want {
			t.Errorf("rows %s, want %s", got, want)
		}
		for _, line := range []string{"a snapshot of the data can not be used", "a damaged snapshot was set aside", filepath.Base(newest)} {
			if !contains(p, line) {
				t.Errorf("the log does not say: %s", line)
			}
		}
		if _, err := os.Stat(newest + ".damaged"); err != nil {
			t.Error(err)
		}
		snapshot()
	}
	p.stop()
}

// lastRecord returns the place of the last byte of the newest segment that is not zero: the end of its last record.
func lastRecord(t *testing.T, pattern string) (path string, at int) {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	path = slices.Max(found)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, len(bytes.TrimRight(data, "\x00")) - 1
}

// TestCutTail: a bit of the last record of a log is flipped after a kill. The start tells in the log, in the metrics and in
// the audit log that the end was cut, and nothing before that record is missing.
func TestCutTail(t *testing.T) {
	t.Parallel()
	for _, group := range []string{"data", "catalog"} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			p := startInstance(t, options{args: []string{"--wal-mode", "write"}})
			child := p.online().PID
			s := createSpace(t, p.admin(), 600, "t1")
			for n := range 50 {
				s.insert(list{n, "some text"})
			}
			kill(t, p.pid(), syscall.SIGKILL)
			if !gone(t, child, waitStop) {
				t.Fatal("the child goes on")
			}
			path, at := lastRecord(t, filepath.Join(p.dir, group, "*.rlog"))
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[at] ^= 0x10
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			p = p.again()
			p.online()
			if torn := p.metric(`lycosa_log_damage_total{what="torn_bytes"}`); torn <= 0 {
				t.Errorf("%v torn bytes", torn)
			}
			for _, line := range []string{"event=log_tail_cut group=" + group, "where the log was cut", filepath.Base(path)} {
				if !contains(p, line) {
					t.Errorf("the log does not say: %s", line)
				}
			}
			if text, err := os.ReadFile(filepath.Join(p.dir, "audit.log")); err != nil || !strings.Contains(string(text), "log_tail_cut") {
				t.Errorf("the audit log does not say it: %v", err)
			}
			s = table{t, p.admin(), 600}
			if n := len(s.rows()); n < 49 {
				t.Errorf("%d rows", n)
			}
			s.insert(list{100})
			p.stop()
		})
	}
}
