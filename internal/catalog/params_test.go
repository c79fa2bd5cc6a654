package catalog

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

func TestMarkdownIsFresh(t *testing.T) {
	const file = "../../docs/cluster-parameters.md"
	if *rewrite {
		if err := os.WriteFile(file, []byte(ParamsMarkdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != ParamsMarkdown() {
		t.Errorf("%s is stale (%v): run the test with -rewrite", file, err)
	}
}

// The defaults are allowed values, and are what a catalog without rows answers.
func TestDefaultsOfParameters(t *testing.T) {
	s := New()
	for _, p := range Params() {
		c := DBConfig{Key: p.Key, Value: p.value()}
		if p.PerTier {
			c.Scope = "default"
		}
		if err := p.checkRow(c); err != nil {
			t.Errorf("default of %s: %v", p.Key, err)
		}
		if p.Doc == "" || p.Default == nil {
			t.Errorf("%s lacks a sentence or a default", p.Key)
		}
		var got any
		switch p.Type {
		case ParamSeconds:
			got = s.Seconds(p.Key).Seconds()
		case ParamCount:
			got = s.Count(p.Key)
		case ParamBytes:
			got = s.Bytes(p.Key)
		case ParamFlag:
			got = s.Flag(p.Key)
		case ParamChoice:
			got = s.WALMode("default")
		}
		if got != p.Default {
			t.Errorf("%s is %v without a row, default %v", p.Key, got, p.Default)
		}
	}
}

func TestParametersChangeAtRunTime(t *testing.T) {
	s := bootstrapped(t)
	for key, value := range map[string][]byte{
		ConfAutoOfflineTimeout: msgpack.AppendFloat64(nil, 7.5), ConfRaftWALCountMax: msgpack.AppendUint(nil, 500),
		ConfSnapshotChunkMax: msgpack.AppendUint(nil, 8192), ConfGovernorAutoreturn: msgpack.AppendBool(nil, true),
	} {
		op, _, err := SetParam(s, key, value)
		if err != nil {
			t.Fatal(err)
		}
		mustRun(t, s, op)
	}
	if s.Seconds(ConfAutoOfflineTimeout) != 7500*time.Millisecond || s.Count(ConfRaftWALCountMax) != 500 ||
		s.Bytes(ConfSnapshotChunkMax) != 8192 || !s.Flag(ConfGovernorAutoreturn) {
		t.Error("a value that was set is not the one that is read")
	}
	if _, _, err := SetParam(s, ConfElectionTimeout, msgpack.AppendUint(nil, 2)); !errcode.Is(err, errcode.CASTableNotAllowed) {
		t.Errorf("a fixed parameter: %v", err)
	}
}

// What another version has written and this one does not understand counts as not set, and does not stop anybody.
func TestForeignParametersAreAppliedAndNotUsed(t *testing.T) {
	s := bootstrapped(t)
	for _, c := range []DBConfig{
		{Key: "of_a_newer_version", Value: msgpack.AppendNil(nil)},
		{Key: ConfAutoOfflineTimeout, Value: msgpack.AppendStr(nil, "soon")},
		{Key: ConfRaftWALCountMax, Value: msgpack.AppendUint(nil, 1<<60)},
	} {
		mustRun(t, s, Op{Kind: Dml, DML: []DML{{Kind: Replace, Table: TableDBConfig, Tuple: c.Row()}}})
	}
	if s.Seconds(ConfAutoOfflineTimeout) != 5*time.Second || s.Count(ConfRaftWALCountMax) != 10_000 {
		t.Error("a value that is not understood is used")
	}
}

// client understands what op does, as a statement of a client.
func (w *world) client(args []string) string {
	op, err := parseOp(args)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	op, guard, row, err := PlanDML(w.s, op.DML[0])
	if err != nil {
		return show(err)
	}
	guard.Term = w.term
	out := w.propose(&guard, op)
	if row != nil && !strings.HasPrefix(out, "error") {
		text, _ := msgpack.ToJSON(nil, row)
		out += string(text) + "\n"
	}
	return out
}
