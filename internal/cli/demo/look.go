package demo

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/lycosadb/lycosa/internal/cli/screen"
	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// lookTimeout bounds the wait for an instance to tell where it stands.
const lookTimeout = time.Second

// documentBytesMax bounds the document of an instance.
const documentBytesMax = 1 << 20

// Sample is where an instance stands, as it says itself. Names that are not known are empty.
type Sample struct {
	// Answers is false if nothing could be asked; everything else is empty then.
	Answers        bool
	Name           string
	Stage, State   string
	Current        string
	Target         string
	Replicaset     string
	LeadsCatalog   bool
	LeadsData      bool
	Cause, Waiting string
}

// Online tells whether the instance serves clients.
func (s Sample) Online() bool {
	return s.State == lifecycle.RolesConfigured.String() && s.Current == lifecycle.Online.String()
}

// broken tells whether it is in a state that only a restart leads out of.
func (s Sample) broken() bool {
	return s.State == lifecycle.InitError.String() || s.State == lifecycle.BootError.String()
}

// document is what is read of /api/v1/instance; null is empty.
type document struct {
	Name       string `json:"name"`
	Stage      string `json:"stage"`
	State      string `json:"state"`
	WaitingFor string `json:"waiting_for"`
	Cause      *struct {
		Message string `json:"message"`
	} `json:"cause"`
	Grade struct {
		Current, Target struct {
			Name string `json:"name"`
		}
	} `json:"grade"`
	Replicaset struct {
		Name string `json:"name"`
	} `json:"replicaset"`
	Groups []struct {
		Name, Role string
	} `json:"groups"`
}

// web asks instances of this machine. A kept connection would hold the port of an instance that was killed.
var web = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// look asks an instance where it stands.
func look(ctx context.Context, in Instance) Sample {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+in.HTTP+"/api/v1/instance", nil)
	if err != nil {
		return Sample{}
	}
	reply, err := web.Do(request)
	if err != nil {
		return Sample{}
	}
	defer reply.Body.Close()
	var d document
	text, err := io.ReadAll(io.LimitReader(reply.Body, documentBytesMax))
	if err != nil || reply.StatusCode != http.StatusOK || json.Unmarshal(text, &d) != nil {
		return Sample{}
	}
	return d.sample()
}

func (d document) sample() Sample {
	s := Sample{Answers: true, Name: d.Name, Stage: d.Stage, State: d.State, Current: d.Grade.Current.Name, Target: d.Grade.Target.Name,
		Replicaset: d.Replicaset.Name, Waiting: d.WaitingFor}
	if d.Cause != nil {
		s.Cause = d.Cause.Message
	}
	for _, g := range d.Groups {
		if g.Role == "leader" {
			s.LeadsCatalog = s.LeadsCatalog || g.Name == "catalog"
			s.LeadsData = s.LeadsData || g.Name == "data"
		}
	}
	return s
}

// Row is an instance in the picture.
type Row struct {
	Instance
	Sample
	// Process says what is known of its process while it does not answer.
	Process string
}

func (r Row) name() string {
	if r.Sample.Name != "" {
		return r.Sample.Name
	}
	return r.Instance.Name
}

// grade is the current grade, and the target where it is another one.
func (r Row) grade() string {
	if r.Target != "" && r.Target != r.Current {
		return r.Current + " → " + r.Target
	}
	return r.Current
}

// leads names the groups that the instance leads.
func (r Row) leads() string {
	var groups []string
	if r.LeadsCatalog {
		groups = append(groups, "catalog")
	}
	if r.LeadsData {
		groups = append(groups, "data")
	}
	return strings.Join(groups, ", ")
}

// text is the cause of an error, what is waited for, or what is known of the process.
func (r Row) text() string {
	switch {
	case !r.Answers:
		return r.Process
	case r.Cause != "":
		return r.Cause
	}
	return r.Waiting
}

// Table is the picture of all instances.
func Table(rows []Row) []string {
	cells := make([][]string, 0, len(rows))
	for _, r := range rows {
		cells = append(cells, []string{r.name(), r.Address, r.Stage, r.State, r.grade(), r.Replicaset, r.leads(), r.text()})
	}
	return screen.Table([]string{"instance", "address", "stage", "state", "grade", "replicaset", "leads", "waiting for"}, cells)
}

// Line is an instance as one line, for where nothing can change in place.
func (r Row) Line() string {
	parts := []string{}
	add := func(what, value string) {
		if value != "" {
			parts = append(parts, what+value)
		}
	}
	add("stage ", r.Stage)
	add("state ", r.State)
	add("grade ", r.grade())
	add("replicaset ", r.Replicaset)
	add("leads ", r.leads())
	add("", r.text())
	return r.name() + ": " + screen.Printable(strings.Join(parts, ", "))
}

// changed tells whether another line is worth printing: numbers that only count on are not.
func (r Row) changed(before Row) bool { return withoutDigits(r.Line()) != withoutDigits(before.Line()) }

func withoutDigits(text string) string {
	return strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' {
			return -1
		}
		return c
	}, text)
}
