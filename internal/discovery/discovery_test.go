package discovery

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func started(t *testing.T, peers ...string) (*Machine, []Effect) {
	t.Helper()
	m := new(Machine)
	return m, m.Step(0, Start{Record: Record{ID: "id1"}, ClusterName: "demo", Own: "a:1", Peers: peers, CanBoot: true})
}

func callTo(effects []Effect, address string) (Call, bool) {
	for _, e := range effects {
		if call, ok := e.(Call); ok && call.Address == address {
			return call, true
		}
	}
	return Call{}, false
}

// TestRequestLimits: a request that breaks the limits is refused and teaches nothing.
func TestRequestLimits(t *testing.T) {
	many := make([]string, PeersMax+1)
	for i := range many {
		many[i] = fmt.Sprintf("x%d:1", i)
	}
	good := Request{ClusterName: "demo", Round: 3, ID: "id2", Peers: []string{"b:1"}}
	for name, change := range map[string]func(*Request){
		"no id":        func(r *Request) { r.ID = "" },
		"long id":      func(r *Request) { r.ID = strings.Repeat("i", IDBytesMax+1) },
		"many peers":   func(r *Request) { r.Peers = many },
		"empty peer":   func(r *Request) { r.Peers = []string{""} },
		"long peer":    func(r *Request) { r.Peers = []string{strings.Repeat("p", AddressBytesMax+1)} },
		"line in peer": func(r *Request) { r.Peers = []string{"b:1\nfake log line"} },
	} {
		m, _ := started(t, "a:1")
		before := m.Record()
		req := good
		change(&req)
		effects := m.Step(time.Second, Receive{From: 7, Request: req})
		i := slices.IndexFunc(effects, func(e Effect) bool { _, ok := e.(Reply); return ok })
		if i < 0 || effects[i].(Reply).To != 7 || effects[i].(Reply).Answer.Kind != AnswerRefused {
			t.Errorf("%s: %+v", name, effects)
		}
		if !reflect.DeepEqual(m.Record(), before) {
			t.Errorf("%s: the record became %+v", name, m.Record())
		}
		if a := AnswerAsMember("demo", "l:1", "u", req); a.Kind != AnswerRefused || a.Leader != "" {
			t.Errorf("%s: a member answers %+v", name, a)
		}
	}
	if a := AnswerAsMember("prod", "l:1", "u", good); a.Kind != AnswerOtherCluster || a.Leader != "" || a.ClusterName != "prod" {
		t.Errorf("a member of another cluster answers %+v", a)
	}
}

// TestTooManyPeers: an instance that heard of more addresses than it can remember decides nothing and says so.
func TestTooManyPeers(t *testing.T) {
	m, effects := started(t, "a:1")
	call, _ := callTo(effects, "a:1")
	for i := range 3 {
		peers := make([]string, PeersMax/2)
		for j := range peers {
			peers[j] = fmt.Sprintf("x%d-%d:1", i, j)
		}
		m.Step(time.Second, Receive{Request: Request{ClusterName: "demo", ID: "id2", Peers: peers}})
	}
	if n := len(m.Record().Peers); n != PeersMax {
		t.Errorf("%d peers are remembered, want %d", n, PeersMax)
	}
	for _, address := range m.Record().Peers {
		id := "id9"
		if address == "a:1" {
			id = "id1"
		}
		m.Step(2*time.Second, Response{Address: address, Round: m.round, Answer: Answer{Kind: AnswerResp, Round: m.round, ID: id}})
	}
	if c, ok := m.Concluded(); ok {
		t.Errorf("it concluded %+v after call %+v", c, call)
	}
	if w := m.Waiting(); !w.Failure || !strings.Contains(w.Text, "more than 1024 addresses") {
		t.Errorf("it waits: %+v", w)
	}
}

// TestBadAnswers: an answer that is not understood does not count, and the address is asked again.
func TestBadAnswers(t *testing.T) {
	for i, answer := range []Answer{
		{Kind: 0, Round: 1}, {Kind: 9, Round: 1}, {Kind: AnswerResp, Round: 1, ID: ""}, {Kind: AnswerResp, Round: 2, ID: "id1"},
		{Kind: AnswerResp, Round: 1, ID: "id1", Peers: []string{"b 1"}}, {Kind: AnswerFinished, Round: 1, Leader: "l 1"},
		{Kind: AnswerFinished, Round: 1, Leader: "l:1", ClusterUUID: "two words"}, {Kind: AnswerRefused, Round: 1},
	} {
		m, _ := started(t, "a:1")
		m.Step(time.Millisecond, Response{Address: "a:1", Round: 1, Answer: answer})
		if c, ok := m.Concluded(); ok {
			t.Errorf("answer %d: concluded %+v", i, c)
		}
		if w := m.Waiting(); !w.Failure {
			t.Errorf("answer %d: it waits: %+v", i, w)
		}
		at, ok := m.WakeAt()
		if !ok || at != time.Millisecond+askInterval {
			t.Errorf("answer %d: wake at %v %v", i, at, ok)
		}
		if _, ok := callTo(m.Step(at, Tick{}), "a:1"); !ok {
			t.Errorf("answer %d: it does not ask again", i)
		}
	}
}

func TestRecordCheck(t *testing.T) {
	for _, good := range []Record{{ID: "x"}, {ID: "x", Peers: []string{"a:1"}, Decision: DecisionBoot}, {ID: "x", Decision: "join a:1 u-1"}} {
		if err := good.Check(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, bad := range []Record{{}, {ID: "x y"}, {ID: "x", Decision: "perhaps"}, {ID: "x", Decision: "join"}, {ID: "x", Peers: []string{""}}} {
		if bad.Check() == nil {
			t.Errorf("%+v passed", bad)
		}
	}
	if c, ok := ParseDecision(joinDecision("a:1", "")); !ok || c != (Conclude{Leader: "a:1"}) {
		t.Errorf("%+v %v", c, ok)
	}
	if c, ok := ParseDecision(joinDecision("a:1", "u-1")); !ok || c != (Conclude{Leader: "a:1", ClusterUUID: "u-1"}) {
		t.Errorf("%+v %v", c, ok)
	}
}

// TestAnyEvents feeds events that no correct peer would send, in any order: no panic, the record only grows until the
// decision, nothing follows the decision but replies, and whatever a message shows was saved before.
func TestAnyEvents(t *testing.T) {
	word := rapid.SampledFrom([]string{"a:1", "b:1", "c:1", "", "x y", "d:1"})
	id := rapid.SampledFrom([]string{"id0", "id1", "id2", "id3", ""})
	rapid.Check(t, func(rt *rapid.T) {
		m := new(Machine)
		now := time.Duration(0)
		saved := Record{}
		check := func(effects []Effect) {
			for _, e := range effects {
				switch e := e.(type) {
				case Save:
					if saved.Decision != "" || len(e.Record.Peers) < len(saved.Peers) || e.Record.ID != "id1" {
						rt.Fatalf("record %+v after %+v", e.Record, saved)
					}
					saved = e.Record
				case Call:
					if !slices.Equal(e.Request.Peers, saved.Peers) || e.Request.ID != saved.ID || saved.Decision != "" {
						rt.Fatalf("call %+v with record %+v", e, saved)
					}
				case Reply:
					if e.Answer.Kind == AnswerResp && (!slices.Equal(e.Answer.Peers, saved.Peers) || saved.Decision != "") {
						rt.Fatalf("reply %+v with record %+v", e, saved)
					}
				case Conclude:
					if saved.Decision == "" {
						rt.Fatalf("conclusion %+v before it was saved", e)
					}
				}
			}
		}
		check(m.Step(now, Start{Record: Record{ID: "id1"}, ClusterName: "demo", Own: "a:1", Peers: []string{"b:1"}, CanBoot: rapid.Bool().Draw(rt, "can")}))
		for range rapid.IntRange(0, 40).Draw(rt, "events") {
			now += time.Duration(rapid.IntRange(0, 3000).Draw(rt, "ms")) * time.Millisecond
			peers := rapid.SliceOfN(word, 0, 4).Draw(rt, "peers")
			round := rapid.Uint64Range(0, 4).Draw(rt, "round")
			switch rapid.IntRange(0, 3).Draw(rt, "event") {
			case 0:
				check(m.Step(now, Tick{}))
			case 1:
				check(m.Step(now, CallFailed{Address: word.Draw(rt, "at"), Round: round}))
			case 2:
				check(m.Step(now, Receive{Request: Request{ClusterName: "demo", Round: round, ID: id.Draw(rt, "id"), CanBoot: rapid.Bool().Draw(rt, "can"), Peers: peers}}))
			case 3:
				check(m.Step(now, Response{Address: word.Draw(rt, "at"), Round: round, Answer: Answer{
					Kind: AnswerKind(rapid.IntRange(0, 5).Draw(rt, "kind")), Round: round, ID: id.Draw(rt, "id"),
					CanBoot: rapid.Bool().Draw(rt, "can"), Peers: peers, Leader: word.Draw(rt, "leader")}}))
			}
		}
	})
}
