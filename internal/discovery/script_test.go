package discovery

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the expected output of the scripts anew")

// actor is one instance of a script: a machine with its disk and the calls that it has in flight, or a member of a
// cluster that has no machine.
type actor struct {
	name    string
	machine *Machine
	start   Start
	saved   Record
	calls   []Call
	reply   *Answer
	held    *Response
	// leader and uuid are what a member answers.
	member       bool
	leader, uuid string
}

// script runs commands over actors and writes down every effect.
type script struct {
	t      *testing.T
	now    time.Duration
	actors []*actor
	routes map[string]*actor
	out    strings.Builder
}

// TestScripts runs the scripts of testdata: a command line, "----", and the effects that it must have.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("scripts %v, error %v", paths, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := &script{t: t, routes: make(map[string]*actor)}
			var got bytes.Buffer
			for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
				commands, _, hasOutput := strings.Cut(block, "\n----")
				got.WriteString(commands)
				if hasOutput {
					s.out.Reset()
					s.run(commands)
					fmt.Fprintf(&got, "\n----\n%s\n", s.out.String())
				} else {
					got.WriteString("\n\n")
				}
			}
			result := strings.TrimSpace(got.String()) + "\n"
			if *rewrite {
				if err := os.WriteFile(path, []byte(result), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if result != string(text) {
				t.Errorf("got\n%s\nwant\n%s", result, text)
			}
		})
	}
}

func (s *script) run(commands string) {
	for line := range strings.SplitSeq(commands, "\n") {
		words := strings.Fields(line)
		if len(words) < 2 || strings.HasPrefix(line, "#") {
			continue
		}
		options := make(map[string]string)
		for _, word := range words[2:] {
			key, value, _ := strings.Cut(word, "=")
			options[key] = value
		}
		if words[0] == "time" {
			d, err := time.ParseDuration(words[1])
			if err != nil {
				s.t.Fatal(err)
			}
			s.now += d
			for _, a := range s.actors {
				s.step(a, Tick{})
			}
			continue
		}
		s.command(words[0], words[1], words[2:], options)
	}
}

func (s *script) command(verb, name string, words []string, options map[string]string) {
	a := s.actor(name)
	switch verb {
	case "start":
		_, cannot := options["cannot-boot"]
		a.start = Start{Record: Record{ID: options["id"]}, ClusterName: "demo", Own: options["own"], CanBoot: !cannot,
			Peers: strings.Split(options["peers"], ",")}
		if cluster, ok := options["cluster"]; ok {
			a.start.ClusterName = cluster
		}
		s.boot(a)
	case "restart":
		a.start.Record = a.saved
		if flag, ok := options["can-boot"]; ok {
			a.start.CanBoot = flag == "yes"
		}
		s.boot(a)
	case "wiped":
		a.start.Record = Record{ID: options["id"]}
		s.boot(a)
	case "member":
		a.member, a.machine, a.leader, a.uuid = true, nil, options["leader"], options["uuid"]
		for word := range strings.SplitSeq(options["at"], ",") {
			s.routes[word] = a
		}
	case "route":
		s.routes[words[0]] = a
	case "call":
		s.call(a, words[0], words[1:])
	case "deliver":
		s.step(a, *a.held)
	case "fail":
		call := s.take(a, words[0])
		s.step(a, CallFailed{Address: call.Address, Round: call.Request.Round, Text: strings.Join(words[1:], " ")})
	case "without":
		s.step(a, GoWithout{Address: words[0]})
	case "waiting":
		w := a.machine.Waiting()
		fmt.Fprintf(&s.out, "%s: %s (failure %v)\n", a.name, w.Text, w.Failure)
	default:
		s.t.Fatalf("unknown command %s", verb)
	}
}

func (s *script) actor(name string) *actor {
	for _, a := range s.actors {
		if a.name == name {
			return a
		}
	}
	a := &actor{name: name}
	s.actors = append(s.actors, a)
	return a
}

func (s *script) boot(a *actor) {
	a.machine, a.member, a.calls = new(Machine), false, nil
	s.routes[a.start.Own] = a
	s.step(a, a.start)
}

func (s *script) take(a *actor, address string) Call {
	i := slices.IndexFunc(a.calls, func(c Call) bool { return c.Address == address })
	if i < 0 {
		s.t.Fatalf("%s has no call to %s in flight", a.name, address)
	}
	call := a.calls[i]
	a.calls = slices.Delete(a.calls, i, i+1)
	return call
}

// call delivers the oldest call of an actor to an address, and the answer back unless the words say that it is lost or
// held for a later "deliver".
func (s *script) call(a *actor, address string, words []string) {
	call := s.take(a, address)
	to := s.routes[address]
	if to == nil {
		s.t.Fatalf("nobody is at %s", address)
	}
	var answer Answer
	if to.member {
		answer = AnswerAsMember("demo", to.leader, to.uuid, call.Request)
	} else {
		s.step(to, Receive{From: 1, Request: call.Request})
		answer = *to.reply
	}
	response := Response{Address: address, Round: call.Request.Round, Answer: answer}
	switch {
	case slices.Contains(words, "reply-held"):
		a.held = &response
	case !slices.Contains(words, "reply-lost"):
		s.step(a, response)
	}
}

func (s *script) step(a *actor, event Event) {
	if a.machine == nil {
		return
	}
	for _, effect := range a.machine.Step(s.now, event) {
		switch effect := effect.(type) {
		case Save:
			a.saved = effect.Record
			fmt.Fprintf(&s.out, "%s: save id %s peers %s decision %q\n", a.name, effect.Record.ID, strings.Join(effect.Record.Peers, ","), effect.Record.Decision)
		case Call:
			a.calls = append(a.calls, effect)
			fmt.Fprintf(&s.out, "%s: call %s round %d until %v with %s\n", a.name, effect.Address, effect.Request.Round, effect.Deadline, strings.Join(effect.Request.Peers, ","))
		case Reply:
			a.reply = &effect.Answer
			fmt.Fprintf(&s.out, "%s: reply %s\n", a.name, renderAnswer(effect.Answer))
		case Conclude:
			fmt.Fprintf(&s.out, "%s: conclude boot=%v leader=%s uuid=%s\n", a.name, effect.Boot, effect.Leader, effect.ClusterUUID)
		case Wait:
			fmt.Fprintf(&s.out, "%s: log %s (failure %v)\n", a.name, effect.Text, effect.Failure)
		}
	}
}

func renderAnswer(a Answer) string {
	switch a.Kind {
	case AnswerResp:
		return fmt.Sprintf("resp round %d id %s can_boot %v peers %s", a.Round, a.ID, a.CanBoot, strings.Join(a.Peers, ","))
	case AnswerFinished:
		return fmt.Sprintf("finished round %d leader %q uuid %q", a.Round, a.Leader, a.ClusterUUID)
	case AnswerOtherCluster:
		return "other cluster " + a.ClusterName
	}
	return "refused"
}
