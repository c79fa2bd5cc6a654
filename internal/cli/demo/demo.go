// Package demo prepares the demonstration on one machine: directories, addresses, the admin's password, and what to try.
// Effects: files of the demo directory, through sys.FS. The instance is started by package cli.
package demo

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir/store"
	"github.com/lycosadb/lycosa/internal/sys"
)

// Options are the flags of the command.
type Options struct {
	Dir               string
	Instances         int
	ReplicationFactor int
	BasePort          int
	HTTPBasePort      int
}

// passwordFile keeps the admin's password in the demo directory, for this user only.
const passwordFile = "admin-password"

// Plan is a demonstration that can be started.
type Plan struct {
	// Args are the arguments of lycosa run.
	Args []string
	// PasswordFile is the path of the admin's password.
	PasswordFile string
	address      string
	httpAddress  string
	adminSocket  string
	dir          string
	password     config.Secret
}

// Check refuses what this version cannot do.
func (o Options) Check() error {
	switch {
	case o.Instances != 1:
		return fmt.Errorf("--instances %d: this version runs one instance; clusters come with a later one", o.Instances)
	case o.ReplicationFactor != 1:
		return fmt.Errorf("--replication-factor %d: this version runs one instance; replicas come with a later one", o.ReplicationFactor)
	case o.Dir == "":
		return errors.New("--dir must name a directory")
	case o.BasePort < 1 || o.BasePort > 65535 || o.HTTPBasePort < 1 || o.HTTPBasePort > 65535:
		return errors.New("--base-port and --http-base-port are between 1 and 65535")
	case o.BasePort == o.HTTPBasePort:
		return errors.New("--base-port and --http-base-port must differ")
	}
	return nil
}

// Prepare makes the directory and the password. The password is made once and kept.
func Prepare(fsys sys.FS, o Options, chance io.Reader) (Plan, error) {
	if err := o.Check(); err != nil {
		return Plan{}, err
	}
	dir := strings.TrimSuffix(o.Dir, "/")
	if err := (store.Dir{FS: fsys, Path: dir}).Create(); err != nil {
		return Plan{}, err
	}
	password, err := store.MakePassword(fsys, dir, passwordFile, chance)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{
		PasswordFile: dir + "/" + passwordFile, dir: dir + "/i1", password: password,
		address:     config.JoinAddress("127.0.0.1", uint16(o.BasePort)),
		httpAddress: config.JoinAddress("127.0.0.1", uint16(o.HTTPBasePort)),
	}
	p.adminSocket = p.dir + "/admin.sock"
	p.Args = []string{"--data-dir", p.dir, "--listen", p.address, "--http-listen", p.httpAddress,
		"--admin-password-file", p.PasswordFile, "--log-file", dir + "/lycosa.log"}
	return p, nil
}

// Text is what the command prints: addresses, the password, and one line to try with each client.
func (p Plan) Text(program string) string {
	host, port, _ := config.SplitAddress(p.address)
	secret := string(p.password.Reveal())
	var b strings.Builder
	fmt.Fprintf(&b, "Lycosa demo: cluster demo, one instance in %s; Ctrl-C ends it, the data stays.\n\n", p.dir)
	fmt.Fprintf(&b, "  iproto          %s\n  HTTP            http://%s\n  admin socket    %s\n", p.address, p.httpAddress, p.adminSocket)
	fmt.Fprintf(&b, "  user, password  admin, %s  (kept in %s)\n  log             %s\n\n", secret, p.PasswordFile, strings.TrimSuffix(p.dir, "/i1")+"/lycosa.log")
	b.WriteString("To try, each in another terminal:\n\n")
	fmt.Fprintf(&b, "  %s status --peer %s\n", program, p.address)
	fmt.Fprintf(&b, "  curl -s http://%s/api/v1/instance\n", p.httpAddress)
	fmt.Fprintf(&b, "  tarantool -e \"c = require('net.box').connect('admin:'..io.open('%s'):read()..'@%s'); print(c.state, c:ping()); "+
		"print(require('json').encode(c.space._vspace:select({}, {limit = 3}))); os.exit()\"\n", p.PasswordFile, p.address)
	fmt.Fprintf(&b, "  node -e \"const T = require('tarantool-driver'); const c = new T({host: '%s', port: %d, lazyConnect: true, username: 'admin', "+
		"password: require('fs').readFileSync('%s', 'utf8').trim()}); c.connect().then(() => c.select(281, 0, 3, 0, 'all', [])).then(r => "+
		"{ console.log(JSON.stringify(r)); c.disconnect() })\"   (after npm install tarantool-driver)\n", host, port, p.PasswordFile)
	return b.String()
}
