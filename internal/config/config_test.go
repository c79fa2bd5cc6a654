package config

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lycosadb/lycosa/internal/meter"
)

var rewrite = flag.Bool("rewrite", false, "write the expected output of the scripts anew")

// files are what the function that reads files sees.
type files map[string]string

func (f files) read(name string) ([]byte, error) {
	text, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

// TestLoadScript runs testdata/load.txt. A block is flags, "env NAME=VALUE" and "| line of a.yml" lines and what is to be
// shown, then "----" and the values with their origins, warnings, and the error.
func TestLoadScript(t *testing.T) {
	const path = "testdata/load.txt"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		commands, _, _ := strings.Cut(block, "\n----")
		fmt.Fprintf(&got, "%s\n----\n%s\n", commands, runLoad(commands))
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

func runLoad(commands string) string {
	var args, environ, show []string
	var yaml strings.Builder
	for line := range strings.SplitSeq(commands, "\n") {
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "env "):
			environ = append(environ, strings.TrimPrefix(line, "env "))
		case strings.HasPrefix(line, "|"):
			yaml.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "|"), " ") + "\n")
		case strings.HasPrefix(line, "show "):
			show = strings.Fields(line)[1:]
		default:
			args = append(args, strings.Fields(line)...)
		}
	}
	c, warnings, err := Load(args, environ, files{"a.yml": yaml.String()}.read)
	var out strings.Builder
	for _, w := range warnings {
		fmt.Fprintf(&out, "warning: %s\n", w)
	}
	if err != nil {
		fmt.Fprintf(&out, "error: %v\n", err)
		return out.String()
	}
	for _, v := range c.Values() {
		if slices.Contains(show, v.Name) {
			fmt.Fprintf(&out, "%s = %s (%s)\n", v.Name, v.Text, v.Origin)
		}
	}
	if slices.Contains(show, "tiers") {
		for _, tier := range c.TierList() {
			fmt.Fprintf(&out, "%+v\n", tier)
		}
	}
	return out.String()
}

func load(t *testing.T, args ...string) *Config {
	t.Helper()
	c, _, err := Load(args, nil, files{}.read)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	c := load(t)
	if c.DataDir != "./lycosa-data" || c.ClusterName != "demo" || c.Listen != "127.0.0.1:3301" || c.Advertise != c.Listen ||
		len(c.Peers) != 1 || c.Peers[0] != c.Listen || c.ReplicationFactor != 1 || c.Tier != "default" || c.Assembly != "auto" {
		t.Errorf("defaults of place and address: %+v", c)
	}
	if c.WALMode != "fsync" || c.CheckpointInterval != time.Hour || c.CheckpointWALSize != 1<<30 || c.ElectionTimeout != time.Second ||
		c.AutoOfflineTimeout != 5*time.Second || c.ShutdownTimeout != 3*time.Second || c.BootTimeout != 2*time.Hour {
		t.Errorf("defaults of storage and timing: %+v", c)
	}
	if c.LogLevel != "info" || c.LogFormat != "text" || c.LogFile != "" || c.NoRestart || !c.ProxyWrites || c.HTTPListen != "" {
		t.Errorf("defaults of the process: %+v", c)
	}
	if c.AuditPath() != "./lycosa-data/audit.log" || c.CookiePath() != "./lycosa-data/.cookie" {
		t.Errorf("paths %s and %s", c.AuditPath(), c.CookiePath())
	}
}

func TestDefaultMemory(t *testing.T) {
	meminfo := "MemTotal:       8388608 kB\nMemFree: 1 kB\n"
	for _, c := range []struct {
		name string
		f    files
		want Size
	}{
		{"nothing known", files{}, memoryFallbackBytes},
		{"a quarter of RAM", files{"/proc/meminfo": meminfo}, 2 << 30},
		{"a quarter of the limit", files{"/proc/meminfo": meminfo, "/proc/self/cgroup": "0::/a/b\n",
			"/sys/fs/cgroup/a/b/memory.max": "1073741824\n"}, 256 << 20},
		{"the least limit on the way up", files{"/proc/meminfo": meminfo, "/proc/self/cgroup": "0::/a/b\n",
			"/sys/fs/cgroup/a/b/memory.max": "max\n", "/sys/fs/cgroup/a/memory.max": "4294967296\n",
			"/sys/fs/cgroup/memory.max": "2147483648\n"}, 512 << 20},
		{"inside a container", files{"/proc/meminfo": meminfo, "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "1073741824\n"}, 256 << 20},
		{"version 1", files{"/proc/meminfo": meminfo, "/proc/self/cgroup": "4:memory:/x\n",
			"/sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n"}, 256 << 20},
		{"version 1 without a limit", files{"/proc/meminfo": meminfo, "/proc/self/cgroup": "4:memory:/x\n",
			"/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 2 << 30},
		{"tiny", files{"/proc/meminfo": "MemTotal: 1024 kB\n"}, memoryBytesMin},
	} {
		if got := defaultMemory(c.f.read); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestSizesAndDurations(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "17": 17, "3B": 3, "64MiB": 64 << 20, "1GiB": 1 << 30, "2KiB": 2048, "1TiB": 1 << 40} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%s is %d, error %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "64MB", "1.5GiB", "-1", "1 GiB", "99999999999999999999", "16777216TiB", "1GiBB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q was read as %d", text, got)
		}
	}
	for _, text := range []string{"", "5", "-1s", "soon"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q was read as %s", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := Size(rapid.Uint64().Draw(t, "bytes"))
		if got, err := ParseSize(n.String()); err != nil || got != n {
			t.Fatalf("%d is written %s and read %d, error %v", n, n, got, err)
		}
		d := time.Duration(rapid.Int64Range(0, 1<<62).Draw(t, "duration"))
		if got, err := ParseDuration(formatDuration(d)); err != nil || got != d {
			t.Fatalf("%s is written %s and read %s, error %v", d, formatDuration(d), got, err)
		}
	})
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		address            string
		ok                 bool
		loopback, wildcard bool
	}{
		{"127.0.0.1:3301", true, true, false}, {"127.8.8.8:1", true, true, false}, {"localhost:1", true, true, false},
		{"[::1]:1", true, true, false}, {"[::ffff:127.0.0.1]:1", true, true, false}, {":3301", true, false, true},
		{"0.0.0.0:1", true, false, true}, {"[::]:1", true, false, true}, {"10.0.0.1:1", true, false, false},
		{"example.org:1", true, false, false}, {"localhost.example.org:1", true, false, false}, {"127.0.0.1.example.org:1", true, false, false},
		{"host", false, false, false}, {"::1:3301", false, false, false}, {"host:99999", false, false, false},
		{"host:", false, false, false}, {"a b:1", false, false, false}, {"", false, false, false}, {"host:-1", false, false, false},
	} {
		host, port, err := SplitAddress(c.address)
		if (err == nil) != c.ok || IsLoopback(c.address) != c.loopback || IsWildcard(c.address) != c.wildcard {
			t.Errorf("%s: error %v, loopback %v, wildcard %v", c.address, err, IsLoopback(c.address), IsWildcard(c.address))
		}
		if again := JoinAddress(host, port); c.ok && again != c.address {
			t.Errorf("%s is joined as %s", c.address, again)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"listen", "http-listen", "peer", "log-level", "log-file", "memory"}
	for typed, want := range map[string]string{"lisen": "listen", "lsiten": "listen", "http_listen": "http-listen", "log-lvl": "log-level",
		"per": "peer", "xyzzyx": "", "": "", "q": "", strings.Repeat("listen", 100): ""} {
		if got, _ := Nearest(typed, names); got != want {
			t.Errorf("nearest to %.20q is %q, want %q", typed, got, want)
		}
	}
}

func TestExportSurvives(t *testing.T) {
	yaml := "tiers: {default: {replication_factor: 3}, storage: {can_vote: false}}\nfailure-domain: {dc: a, rack: b}\n"
	c, _, err := Load([]string{"--config", "a.yml", "--listen", "[::]:7", "--advertise", "h:7", "--peer", "a:1,b:2", "--peer", "c:3", "--no-restart",
		"--memory", "64MiB"}, []string{"LYCOSA_ADMIN_PASSWORD=s3cret"}, files{"a.yml": yaml}.read)
	if err != nil {
		t.Fatal(err)
	}
	data, err := c.Export()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "s3cret") || strings.Contains(fmt.Sprintf("%+v %#v", c, c.AdminPassword), "s3cret") {
		t.Error("the admin password shows")
	}
	got, err := Import(data)
	if err != nil {
		t.Fatal(err)
	}
	c.AdminPassword = Secret{}
	delete(c.texts, "admin-password")
	delete(c.origins, "admin-password")
	delete(got.texts, "admin-password")
	delete(got.origins, "admin-password")
	if want := fmt.Sprintf("%+v", c); fmt.Sprintf("%+v", got) != want {
		t.Errorf("imported\n%+v, want\n%s", got, want)
	}
}

func TestHelpIsAskedFor(t *testing.T) {
	for _, arg := range []string{"--help", "-h"} {
		if _, _, err := Load([]string{"--listen", "h:1", arg}, nil, files{}.read); !errors.Is(err, ErrHelp) {
			t.Errorf("%s: error %v", arg, err)
		}
	}
	for _, p := range Table() {
		if !strings.Contains(Help(), "--"+p.Name) && !strings.Contains(Help(), p.EnvName()) {
			t.Errorf("the help does not mention %s", p.Name)
		}
	}
}

func TestUsedDirectory(t *testing.T) {
	known := Known{ClusterName: "c1", InstanceName: "i1", Replicaset: "r1", Tier: "default"}
	if ignored, err := load(t).CheckUsed(known); err != nil || ignored != nil {
		t.Errorf("nothing given: ignored %v, error %v", ignored, err)
	}
	ignored, err := load(t, "--cluster-name", "c1", "--tier", "default", "--peer", "h:1", "--replication-factor", "2", "--listen", "h:9").CheckUsed(known)
	if err != nil || !slices.Equal(ignored, []string{"peer", "replication-factor"}) {
		t.Errorf("same names: ignored %v, error %v", ignored, err)
	}
	for flag, value := range map[string]string{"--cluster-name": "demo", "--instance-name": "i2", "--replicaset": "r2", "--tier": "storage"} {
		_, err := load(t, flag, value).CheckUsed(known)
		if err == nil || !strings.Contains(err.Error(), `"`+value+`"`) || strings.Count(err.Error(), `"`) != 4 {
			t.Errorf("%s %s: error %v, want one with both values", flag, value, err)
		}
	}
}

func TestCookiePlan(t *testing.T) {
	for _, c := range []struct {
		args         []string
		exists, used bool
		want         CookieAction
		refused      bool
	}{
		{nil, false, false, CookieMake, false},
		{nil, true, false, CookieUse, false},
		{nil, false, true, 0, true},
		{[]string{"--listen", "127.0.0.2:1", "--peer", "127.0.0.2:1"}, false, false, CookieMake, false},
		{[]string{"--listen", "127.0.0.1:1", "--peer", "localhost:1"}, false, false, CookieMake, false},
		{[]string{"--peer", "127.0.0.1:3302"}, false, false, 0, true},
		{[]string{"--peer", "127.0.0.1:3301,127.0.0.1:3302"}, false, false, 0, true},
		{[]string{"--listen", "10.0.0.1:3301"}, false, false, 0, true},
		{[]string{"--listen", "0.0.0.0:3301", "--advertise", "127.0.0.1:3301"}, false, false, 0, true},
		{[]string{"--listen", "127.0.0.1:3301", "--advertise", "h:3301"}, false, false, 0, true},
		{[]string{"--listen", "10.0.0.1:3301"}, true, true, CookieUse, false},
		{[]string{"--cookie-file", "/c"}, false, false, 0, true},
		{[]string{"--cookie-file", "/c"}, true, false, CookieUse, false},
	} {
		got, err := load(t, c.args...).CookiePlan(c.exists, c.used)
		if got != c.want || (err != nil) != c.refused {
			t.Errorf("%v exists %v used %v: %d, error %v", c.args, c.exists, c.used, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "/dev/urandom") {
			t.Errorf("%v: error %v does not say how to make one", c.args, err)
		}
	}
}

func TestCookieAndPasswordContent(t *testing.T) {
	for text, ok := range map[string]bool{
		strings.Repeat("a", 16): true, strings.Repeat("a", 256) + "\n": true, strings.Repeat("a", 15) + "\n": false,
		strings.Repeat("a", 257): false, "with a space 1234": false, strings.Repeat("é", 16): false, "": false,
		strings.Repeat("a", 16) + "\n\n": false, strings.Repeat("~!", 8) + "\r\n": true,
	} {
		if s, err := CheckCookie([]byte(text)); (err == nil) != ok || ok && strings.ContainsAny(string(s.Reveal()), "\r\n") {
			t.Errorf("cookie %.20q: error %v", text, err)
		}
	}
	if _, err := CheckPassword([]byte("\n")); err == nil {
		t.Error("an empty password is accepted")
	}
	if s, err := CheckPassword([]byte(" p w \n")); err != nil || string(s.Reveal()) != " p w " {
		t.Errorf("password %q, error %v", s.Reveal(), err)
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	s := NewSecret([]byte("hidden"))
	if text := fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s, s); strings.Contains(text, "hidden") {
		t.Errorf("a secret prints as %s", text)
	}
	if !s.Equal(NewSecret([]byte("hidden"))) || s.Equal(NewSecret([]byte("hiddex"))) {
		t.Error("secrets compare wrongly")
	}
}

// TestTable keeps the rows whole and the reference page fresh.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Table() {
		if p.Name == "" || p.Group == "" || !strings.HasSuffix(p.Doc, ".") || p.field == nil || seen[p.Name] {
			t.Errorf("row %+v", p)
		}
		seen[p.Name] = true
		if p.Default == "" && p.DefaultDoc == "" {
			t.Errorf("%s does not say its default", p.Name)
		}
		if !p.IsBool() && p.Choices == nil && p.Hint == "" && !p.NoFlag {
			t.Errorf("%s does not say what its value is", p.Name)
		}
	}
	page, err := os.ReadFile("../../docs/parameters.md")
	if err != nil || string(page) != Markdown() {
		t.Errorf("docs/parameters.md is stale (error %v): run go generate ./internal/config", err)
	}
}

func FuzzYAML(f *testing.F) {
	for _, text := range []string{"", "listen: h:1\n", "tiers:\n  default: {replication_factor: 3}\n", "peer: [a:1, b:2]\n", "a: &x [*x]\n", "? {}\n: 1\n", "a: 1\n---\nb: 2\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		meter.CheckBound(t, len(data), uint64(1<<20+1024*len(data)), func() { _, _ = parseYAML("a.yml", data) })
		file, err := parseYAML("a.yml", data)
		if err != nil && !strings.HasPrefix(err.Error(), "a.yml:") {
			t.Fatalf("error %q does not name the file", err)
		}
		for name := range file.settings {
			if params, _ := paramsByName(func(p Param) bool { return !p.NoYAML }); params[name].Name == "" {
				t.Fatalf("unknown key %q was taken", name)
			}
		}
	})
}
