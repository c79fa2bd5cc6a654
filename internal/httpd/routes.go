package httpd

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// route is one path: GET and HEAD, no login.
type route struct {
	handle func(w http.ResponseWriter, r *http.Request)
	text   string // for the page; empty: not named there
}

// paths lists the routes in the order in which the page names them.
var paths = [...]string{
	"/api/v1/instance", "/api/v1/lifecycle", "/api/v1/cluster", "/api/v1/governor",
	"/metrics", "/health/live", "/health/startup", "/health/ready", "/",
}

func (s *Server) table() map[string]route {
	metrics := promhttp.HandlerFor(s.o.Metrics, promhttp.HandlerOpts{
		ErrorLog: promLog{s.o.Logger}, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4,
	})
	return map[string]route{
		"/":                 {s.page, ""},
		"/api/v1/instance":  {s.instance, "this instance: stage, state, cause, grade, groups, memory"},
		"/api/v1/lifecycle": {s.lifecycle, "how it came to be in this state, and the table of states"},
		"/api/v1/cluster":   {s.cluster, "instances, replicasets, tiers and issues of the cluster"},
		"/api/v1/governor":  {s.governor, "what the governor does and what it waits for"},
		"/metrics":          {metrics.ServeHTTP, "metrics for Prometheus"},
		"/health/live":      {s.live, "200 while the process answers"},
		"/health/startup":   {s.startup, "200 once RolesConfigured has been reached"},
		"/health/ready":     {s.ready, "200 while the instance is in RolesConfigured and Online"},
	}
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	if len(r.URL.Path) > pathBytesMax {
		s.fail(w, http.StatusRequestURITooLong, "the path is longer than "+strconv.Itoa(pathBytesMax)+" bytes")
		return
	}
	rt, found := s.routes[r.URL.Path]
	if !found {
		s.fail(w, http.StatusNotFound, fmt.Sprintf("there is nothing at %q; / names what there is", r.URL.Path))
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		s.fail(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s can only be read: use GET", r.URL.Path))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, bodyBytesMax)
	rt.handle(w, r)
}

func (s *Server) instance(w http.ResponseWriter, _ *http.Request) {
	s.reply(w, http.StatusOK, s.o.Source.Instance())
}

func (s *Server) lifecycle(w http.ResponseWriter, _ *http.Request) {
	s.reply(w, http.StatusOK, lifecycleOf(s.o.Source.Lifecycle()))
}

func (s *Server) cluster(w http.ResponseWriter, _ *http.Request) {
	doc, ok := s.o.Source.Cluster()
	s.replyFromPostjoin(w, doc, ok)
}

func (s *Server) governor(w http.ResponseWriter, _ *http.Request) {
	doc, ok := s.o.Source.Governor()
	s.replyFromPostjoin(w, doc, ok)
}

// notYet is the body of a 503: why there is nothing to show yet.
type notYet struct {
	Error      Text             `json:"error"`
	Stage      lifecycle.Stage  `json:"stage"`
	State      lifecycle.State  `json:"state"`
	Cause      *lifecycle.Cause `json:"cause"`
	WaitingFor Text             `json:"waiting_for"`
}

func (s *Server) replyFromPostjoin(w http.ResponseWriter, doc any, ok bool) {
	in := s.o.Source.Instance()
	if ok && in.Stage == lifecycle.Postjoin {
		s.reply(w, http.StatusOK, doc)
		return
	}
	s.reply(w, http.StatusServiceUnavailable, notYet{
		Error: Text(fmt.Sprintf("known from stage Postjoin on; instance is in stage %s, state %s", in.Stage, in.State)),
		Stage: in.Stage, State: in.State, Cause: in.Cause, WaitingFor: in.WaitingFor,
	})
}

// healthBody is the answer of the health endpoints.
type healthBody struct {
	OK    bool            `json:"ok"`
	Stage lifecycle.Stage `json:"stage"`
	State lifecycle.State `json:"state"`
	Text  Text            `json:"text"`
}

func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	s.health(w, true, "the process answers")
}

func (s *Server) startup(w http.ResponseWriter, _ *http.Request) {
	h := s.o.Source.Health()
	s.health(w, h.Startup, h.Text)
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	h := s.o.Source.Health()
	s.health(w, h.Ready, h.Text)
}

func (s *Server) health(w http.ResponseWriter, ok bool, text string) {
	in := s.o.Source.Instance()
	status := http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
	}
	s.reply(w, status, healthBody{OK: ok, Stage: in.Stage, State: in.State, Text: Text(text)})
}

// failure is the body of every other refusal.
type failure struct {
	Error string `json:"error"`
}

func (s *Server) fail(w http.ResponseWriter, status int, sentence string) {
	s.reply(w, status, failure{sentence})
}

// reply writes a document. It is made completely before the first byte goes out, so that a document that cannot be
// made is a clean 500.
func (s *Server) reply(w http.ResponseWriter, status int, doc any) {
	body, err := json.Marshal(doc)
	if err != nil {
		s.o.Logger.Error("http document cannot be written as JSON", "error", err)
		status, body = http.StatusInternalServerError, []byte(`{"error":"internal error; the log has the details"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	// A client that has gone away is no event.
	_, _ = w.Write(append(body, '\n'))
}

// secured sets the headers that every answer carries.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurityPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// started notes whether an answer has begun.
type started struct {
	http.ResponseWriter
	begun bool
}

// WriteHeader notes it.
func (w *started) WriteHeader(status int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

// Write notes it.
func (w *started) Write(b []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find the real one.
func (w *started) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// recovered turns a panic into a log line and, if nothing was sent yet, a 500; otherwise the connection is cut.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &started{ResponseWriter: w}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(http.ErrAbortHandler)
			}
			s.o.Logger.Error("panic while answering an HTTP request",
				"path", r.URL.Path, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			if out.begun {
				panic(http.ErrAbortHandler)
			}
			s.fail(out, http.StatusInternalServerError, "internal error; the log has the details")
		}()
		next.ServeHTTP(out, r)
	})
}
