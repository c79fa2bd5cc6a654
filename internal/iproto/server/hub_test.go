package server

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "renew the expected output of the scripts")

// hubScript drives a hub with text commands. Subscribers are named by single letters.
type hubScript struct {
	hub     hub
	watches map[string]*[]*watch
	next    uint64
}

func (s *hubScript) mine(who string) *[]*watch {
	if s.watches[who] == nil {
		s.watches[who] = new([]*watch)
	}
	return s.watches[who]
}

// told shows who is told what.
func (s *hubScript) told(list ...*watch) string {
	var b strings.Builder
	for _, w := range list {
		if w == nil {
			continue
		}
		for who, mine := range s.watches {
			if find(*mine, w.topic.key) == w {
				fmt.Fprintf(&b, "%s %s=%s sync %d\n", who, w.topic.key, w.topic.value, w.sync)
			}
		}
	}
	if b.Len() == 0 {
		return "-\n"
	}
	return b.String()
}

func (s *hubScript) run(line string) string {
	w := strings.Fields(line)
	switch w[0] {
	case "set":
		return s.told(s.hub.set(w[1], []byte(w[2]))...)
	case "clear":
		return s.told(s.hub.set(w[1], nil)...)
	case "watch":
		s.next++
		return s.told(s.hub.watch(s.mine(w[1]), nil, w[2], s.next))
	case "unwatch":
		s.hub.unwatch(s.mine(w[1]), w[2])
	case "leave":
		s.hub.leave(s.mine(w[1]))
	case "count":
		return strconv.Itoa(s.hub.watched(w[1])) + "\n"
	case "get":
		return fmt.Sprintf("%q\n", s.hub.get(w[1]))
	case "topics":
		return strconv.Itoa(len(s.hub.topics)) + "\n"
	default:
		panic("unknown command " + line)
	}
	return ""
}

// TestHubScript runs testdata/hub.txt: commands, a line "----", what they print, an empty line between cases.
func TestHubScript(t *testing.T) {
	const path = "testdata/hub.txt"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		commands, _, _ := strings.Cut(block, "\n----")
		s := &hubScript{hub: newHub(), watches: map[string]*[]*watch{}}
		var b strings.Builder
		for line := range strings.SplitSeq(commands, "\n") {
			if !strings.HasPrefix(line, "#") {
				b.WriteString(s.run(line))
			}
		}
		out = append(out, commands+"\n----\n"+b.String())
	}
	got := strings.Join(out, "\n")
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != string(text) {
		t.Errorf("got\n%s", got)
	}
}

// TestHubTellsTheNewest: subscribers that always ask again end with the newest value of each key, are never told the same
// version twice nor an older one, and are told nothing that they have not asked for.
func TestHubTellsTheNewest(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		h := newHub()
		mine := make([][]*watch, 5)
		owed := map[*watch]bool{} // told, and not asked again yet
		seen := map[*watch]uint64{}
		told := func(w *watch) {
			if w == nil {
				return
			}
			if v, ok := seen[w]; owed[w] || ok && v >= w.topic.version {
				t.Fatalf("seed %d: key %s: told version %d, after %d, unanswered %v", seed, w.topic.key, w.topic.version, v, owed[w])
			}
			owed[w], seen[w] = true, w.topic.version
		}
		ask := func(who int, key string) {
			if w := find(mine[who], key); w != nil {
				owed[w] = false
			}
			told(h.watch(&mine[who], nil, key, 1))
		}
		for step := range 200 {
			who, key := rnd.IntN(len(mine)), fmt.Sprint("k", rnd.IntN(3))
			switch rnd.IntN(6) {
			case 0:
				h.unwatch(&mine[who], key)
			case 1:
				if rnd.IntN(10) == 0 {
					h.leave(&mine[who])
				}
			case 2, 3:
				ask(who, key)
			default:
				value := []byte(fmt.Sprint(step))
				if rnd.IntN(4) == 0 {
					value = nil
				}
				for _, w := range h.set(key, value) {
					told(w)
				}
			}
		}
		for who := range mine {
			for _, w := range mine[who] {
				ask(who, w.topic.key)
				if seen[w] != w.topic.version || w.topic.watches[w.at] != w {
					t.Fatalf("seed %d: key %s: saw %d of %d", seed, w.topic.key, seen[w], w.topic.version)
				}
			}
			h.leave(&mine[who])
		}
		for key := range h.topics {
			h.set(key, nil)
		}
		if len(h.topics) != 0 {
			t.Fatalf("seed %d: %d topics are left", seed, len(h.topics))
		}
	}
}
