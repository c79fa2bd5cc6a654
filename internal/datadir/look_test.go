package datadir

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "write the expected output of the scripts anew")

const (
	uuidA = "6e6ccd4c-1bb4-4ba4-b9a4-4bdc7c4c8b11"
	uuidB = "0d1d3fd4-5a39-4d0a-9a30-2b9f0a4be6a2"
)

func testIdentity() Identity {
	return Identity{ClusterName: "demo", ClusterUUID: uuidA, Epoch: 1, InstanceName: "i1", InstanceUUID: uuidA, ReplicasetName: "r1",
		ReplicasetUUID: uuidB, Tier: "default", RaftID: 1, DataRaftID: 2}
}

// TestLookScript runs testdata/look.txt: the words of a listing, "----", and the verdict.
func TestLookScript(t *testing.T) {
	const path = "testdata/look.txt"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		commands, _, _ := strings.Cut(block, "\n----")
		fmt.Fprintf(&got, "%s\n----\n", commands)
		for line := range strings.SplitSeq(commands, "\n") {
			if !strings.HasPrefix(line, "#") {
				got.WriteString(render(Look(parseListing(t, line))))
			}
		}
		got.WriteByte('\n')
	}
	result := strings.TrimSpace(got.String()) + "\n"
	if *rewrite {
		if err := os.WriteFile(path, []byte(result), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if result != string(text) {
		t.Errorf("got\n%s\nwant\n%s", result, text)
	}
}

func render(v Verdict) string {
	line := fmt.Sprintf("(%c) %s", v.Case, v.Begin)
	if v.Wipe {
		line += ", wipe"
	}
	if v.WipeDespiteIdentity {
		line += " despite identity"
	}
	if v.Leftovers != nil {
		line += ", remove " + strings.Join(v.Leftovers, " ")
	}
	if v.Cause != nil {
		line += "\n    " + v.Cause.Field + ": " + v.Cause.Message
	}
	return line + "\n"
}

// parseListing reads words such as "identity entrypoint=boot data=snap,log config=ok".
func parseListing(t *testing.T, line string) Listing {
	t.Helper()
	l := Listing{}
	for _, word := range strings.Fields(line) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "empty":
		case "identity":
			l.Identity = Found[Identity]{State: Readable, Value: testIdentity()}
			if value == "bad" {
				l.Identity = Found[Identity]{State: Unreadable, Reason: "damaged"}
			}
		case "entrypoint":
			l.Entrypoint = parseEntrypoint(value)
		case "discovery":
			l.Discovery = Found[DiscoveryRecord]{State: Readable, Value: DiscoveryRecord{ID: "x"}}
			if value == "bad" {
				l.Discovery = Found[DiscoveryRecord]{State: Unreadable, Reason: "damaged"}
			}
		case "config":
			l.Config = Config{Entries: 2, State: map[string]FileState{"ok": Readable, "bad": Unreadable}[value], Reason: "damaged"}
		case "data", "catalog":
			g := Group{Entries: 1, Snapshot: strings.Contains(value, "snap"), Log: strings.Contains(value, "log")}
			if name == "data" {
				l.Data = g
			} else {
				l.Catalog = g
			}
		case "foreign":
			l.Foreign = append(l.Foreign, value)
		case "link":
			l.NotOurs = append(l.NotOurs, value)
		default:
			t.Fatalf("unknown word %q", word)
		}
	}
	return l
}

func parseEntrypoint(kind string) Found[Entrypoint] {
	e := Entrypoint{Kind: kind, InstanceUUID: uuidA, ClusterUUID: uuidA, ReplicasetUUID: uuidB, Leader: "h:1"}
	switch kind {
	case "bad":
		return Found[Entrypoint]{State: Unreadable, Reason: "damaged"}
	case "replace-new":
		e.Kind, e.RaftID, e.DataRaftID = EntryReplace, 7, 8
	case "replace-done":
		e.Kind, e.RaftID, e.DataRaftID = EntryReplace, 1, 2
	case "replace-half":
		e.Kind, e.RaftID, e.DataRaftID = EntryReplace, 1, 8
	case "replace-other":
		e.Kind, e.RaftID, e.DataRaftID, e.InstanceUUID = EntryReplace, 7, 8, uuidB
	}
	return Found[Entrypoint]{State: Readable, Value: e}
}

// TestLookProperties checks what must hold for every listing.
func TestLookProperties(t *testing.T) {
	state := rapid.SampledFrom([]FileState{Absent, Readable, Unreadable})
	kinds := rapid.SampledFrom([]string{EntryBoot, EntryJoin, "replace-new", "replace-done", "replace-half", "replace-other"})
	group := rapid.Custom(func(t *rapid.T) Group {
		g := Group{Snapshot: rapid.Bool().Draw(t, "snap"), Log: rapid.Bool().Draw(t, "log")}
		g.Entries = rapid.IntRange(0, 2).Draw(t, "more")
		return g
	})
	rapid.Check(t, func(t *rapid.T) {
		l := Listing{Data: group.Draw(t, "data"), Catalog: group.Draw(t, "catalog")}
		l.Identity = Found[Identity]{State: state.Draw(t, "identity"), Value: testIdentity()}
		l.Entrypoint = parseEntrypoint(kinds.Draw(t, "kind"))
		l.Entrypoint.State = state.Draw(t, "entrypoint")
		l.Discovery.State = state.Draw(t, "discovery")
		l.Config = Config{State: state.Draw(t, "config"), Entries: rapid.IntRange(0, 2).Draw(t, "entries")}
		if rapid.Bool().Draw(t, "link") {
			l.NotOurs = []string{"data"}
		}
		v := Look(l)
		switch {
		case v.Wipe && len(l.NotOurs) > 0:
			t.Fatal("wipes although something is a link")
		case v.Wipe && l.Identity.State == Unreadable:
			t.Fatal("wipes although an identity cannot be read")
		case v.Wipe && l.Identity.State == Readable && !v.WipeDespiteIdentity:
			t.Fatal("asks for a wipe that the identity forbids")
		case v.WipeDespiteIdentity && v.Case != 'b':
			t.Fatal("wipes despite an identity outside of case b")
		case v.Wipe && v.Entrypoint == nil:
			t.Fatal("wipes without an entrypoint that says how to go on")
		case (v.Begin == BeginInitError || v.Begin == BeginWait) != (v.Cause != nil):
			t.Fatalf("begins as %s with cause %v", v.Begin, v.Cause)
		case v.Begin == BeginRestart && (v.Identity == nil || !l.Data.Snapshot || !l.Catalog.Log):
			t.Fatal("restarts without what a restart needs")
		case v.Begin == BeginDiscover && (l.Identity.State != Absent || l.Data.Entries+l.Catalog.Entries+l.Config.Entries > 0):
			t.Fatal("discovers over existing data")
		}
	})
}
