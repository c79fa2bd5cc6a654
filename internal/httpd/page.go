package httpd

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"time"

	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// pageStyle is the only thing that the content security policy lets a browser use, by its hash.
const pageStyle = `
body{font:16px/1.5 system-ui,sans-serif;margin:3rem auto;max-width:46rem;padding:0 1rem;color:#1d2733;background:#fff}
h1{font-size:1.4rem;margin:0 0 1rem}
h2{font-size:1rem;margin:2rem 0 .5rem}
table{border-collapse:collapse}
th{text-align:left;font-weight:400;color:#5b6b7b;padding:.15rem 1.5rem .15rem 0;vertical-align:top;white-space:nowrap}
td{padding:.15rem 0}
.good{color:#1a7f4b}.bad{color:#b3261e}.busy{color:#8a5a00}
code,a{font-family:ui-monospace,monospace;font-size:.95em}
@media(prefers-color-scheme:dark){body{color:#dfe6ee;background:#14191f}th{color:#93a3b3}a{color:#8ab8ff}
.good{color:#5fd39a}.bad{color:#ff8a80}.busy{color:#f0c060}}
`

var contentSecurityPolicy = "default-src 'none'; style-src 'sha256-" + styleHash() +
	"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func styleHash() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return base64.StdEncoding.EncodeToString(sum[:])
}

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{{.Style}}</style></head>
<body><h1>{{.Title}}</h1>
<table>
{{range .Rows}}<tr><th scope="row">{{.Key}}</th><td{{if .Class}} class="{{.Class}}"{{end}}>{{.Value}}</td></tr>
{{end}}</table>
<h2>What can be read here</h2>
<table>
{{range .Links}}<tr><th scope="row"><a href="{{.Key}}">{{.Key}}</a></th><td>{{.Value}}</td></tr>
{{end}}</table>
</body></html>
`))

type pageRow struct{ Key, Value, Class string }

type pageData struct {
	Title string
	Style template.CSS
	Rows  []pageRow
	Links []pageRow
}

// page is a plain page for a person with a browser: where the instance stands, and what else there is to read.
func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	data := pageData{Title: "Lycosa", Style: pageStyle, Rows: pageRows(s.o.Source.Instance())}
	for _, path := range paths {
		if text := s.routes[path].text; text != "" {
			data.Links = append(data.Links, pageRow{Key: path, Value: text})
		}
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, data); err != nil {
		s.o.Logger.Error("http page cannot be made", "error", err)
		s.fail(w, http.StatusInternalServerError, "internal error; the log has the details")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// A client that has gone away is no event.
	_, _ = w.Write(b.Bytes())
}

func pageRows(in Instance) []pageRow {
	class := "busy"
	if in.State.IsError() {
		class = "bad"
	} else if in.State == lifecycle.RolesConfigured {
		class = "good"
	}
	grade := ""
	if g := in.Grade.Current.Name; g != nil {
		grade = g.String()
	}
	cause := ""
	if in.Cause != nil {
		cause = in.Cause.Message
	}
	all := []pageRow{
		{"cluster", string(in.ClusterName), ""},
		{"instance", string(in.Name), ""},
		{"stage", in.Stage.String(), ""},
		{"state", in.State.String(), class},
		{"since", in.StateSince.UTC().Format(time.RFC3339), ""},
		{"cause", cause, class},
		{"waiting for", string(in.WaitingFor), ""},
		{"grade", grade, ""},
		{"version", string(in.Version), ""},
	}
	known := all[:0]
	for _, r := range all {
		if r.Value != "" {
			known = append(known, r)
		}
	}
	return known
}
