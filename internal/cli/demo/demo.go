// Package demo runs a whole cluster on one machine for demonstration: directories, addresses, secrets, a process for each
// instance, and a picture of where they stand. Effects: files of the demo directory, processes, HTTP on this machine.
// What an instance does is decided by the instance; here it is started, looked at, and ended.
package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/datadir/store"
	"github.com/lycosadb/lycosa/internal/sys"
)

// Options are the flags of the command.
type Options struct {
	Dir               string `json:"-"`
	Instances         int    `json:"instances"`
	ReplicationFactor int    `json:"replication_factor"`
	BasePort          int    `json:"base_port"`
	HTTPBasePort      int    `json:"http_base_port"`
}

// InstancesMax is how many instances a demonstration has at most.
const InstancesMax = 15

// The files in the demo directory, all for this user only.
const (
	passwordFile = "admin-password"
	cookieFile   = "cookie"
	// optionsFile keeps the options of the last start, for stop, kill and start.
	optionsFile = "demo.json"
)

// optionsBytesMax bounds optionsFile.
const optionsBytesMax = 4096

const fileMode fs.FileMode = 0o600

// portMax is the highest port there is.
const portMax = 65535

// Plan is a demonstration that can be started.
type Plan struct {
	Options
	Instances []Instance
	// PasswordFile is the path of the admin's password, CookieFile that of the secret that the instances share.
	PasswordFile, CookieFile string
	password                 config.Secret
}

// Instance is one instance of a plan.
type Instance struct {
	// Name is that of its directory: i1, i2 and so on. With several instances it is the name in the cluster too, unless
	// the directory had another one before.
	Name string
	// Address is that of the binary protocol, HTTP that of HTTP, both without a scheme.
	Address, HTTP string
	// Dir is the data directory, Log the file of the log.
	Dir, Log string
	// Args are the arguments of lycosa run.
	Args []string
}

// Check refuses options that make no cluster.
func (o Options) Check() error {
	last := o.Instances - 1
	switch {
	case o.Instances < 1 || o.Instances > InstancesMax:
		return fmt.Errorf("--instances %d is not between 1 and %d", o.Instances, InstancesMax)
	case o.ReplicationFactor < 1 || o.ReplicationFactor > o.Instances:
		return fmt.Errorf("--replication-factor %d is not between 1 and the number of instances, %d", o.ReplicationFactor, o.Instances)
	case o.Dir == "":
		return errors.New("--dir must name a directory")
	case o.BasePort < 1 || o.BasePort+last > portMax || o.HTTPBasePort < 1 || o.HTTPBasePort+last > portMax:
		return fmt.Errorf("--base-port and --http-base-port, and the %d ports after them, are between 1 and %d", last, portMax)
	case o.BasePort <= o.HTTPBasePort+last && o.HTTPBasePort <= o.BasePort+last:
		return fmt.Errorf("--base-port and --http-base-port must be at least %d apart", o.Instances)
	}
	return nil
}

// Prepare makes the directory and the secrets, which are made once and kept, and remembers the options.
func Prepare(fsys sys.FS, o Options, chance io.Reader) (Plan, error) {
	if err := o.Check(); err != nil {
		return Plan{}, err
	}
	o.Dir = trimSlash(o.Dir)
	if err := (store.Dir{FS: fsys, Path: o.Dir}).Create(); err != nil {
		return Plan{}, err
	}
	password, err := store.MakePassword(fsys, o.Dir, passwordFile, chance)
	if err != nil {
		return Plan{}, err
	}
	if _, err := store.MakePassword(fsys, o.Dir, cookieFile, chance); err != nil {
		return Plan{}, err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return Plan{}, err
	}
	if err := sys.WriteFileAtomic(fsys, o.Dir, optionsFile, append(text, '\n'), fileMode); err != nil {
		return Plan{}, fmt.Errorf("write %s: %w", optionsFile, err)
	}
	p := o.plan(fsys)
	p.password = password
	return p, nil
}

// Load returns the plan of the demonstration that was last started in a directory.
func Load(fsys sys.FS, dir string) (Plan, error) {
	dir = trimSlash(dir)
	text, err := sys.ReadFile(fsys, dir+"/"+optionsFile, optionsBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return Plan{}, fmt.Errorf("there is no demonstration in %s; --dir names its directory", dir)
	}
	if err != nil {
		return Plan{}, err
	}
	o := Options{}
	if err := json.Unmarshal(text, &o); err != nil {
		return Plan{}, fmt.Errorf("%s/%s cannot be read: %w", dir, optionsFile, err)
	}
	o.Dir = dir
	if err := o.Check(); err != nil {
		return Plan{}, fmt.Errorf("%s/%s: %w", dir, optionsFile, err)
	}
	return o.plan(fsys), nil
}

func trimSlash(dir string) string {
	if dir == "/" {
		return dir
	}
	return strings.TrimRight(dir, "/")
}

// plan follows from the options, and from names that directories have already.
func (o Options) plan(fsys sys.FS) Plan {
	p := Plan{Options: o, PasswordFile: o.Dir + "/" + passwordFile, CookieFile: o.Dir + "/" + cookieFile}
	var addresses []string
	for i := range o.Instances {
		addresses = append(addresses, config.JoinAddress("127.0.0.1", uint16(o.BasePort+i)))
	}
	for i, address := range addresses {
		name := "i" + strconv.Itoa(i+1)
		in := Instance{Name: name, Address: address, HTTP: config.JoinAddress("127.0.0.1", uint16(o.HTTPBasePort+i)),
			Dir: o.Dir + "/" + name, Log: o.Dir + "/" + name + ".log"}
		in.Args = []string{"--data-dir", in.Dir, "--listen", address, "--http-listen", in.HTTP,
			"--admin-password-file", p.PasswordFile, "--cookie-file", p.CookieFile, "--log-file", in.Log}
		if o.Instances > 1 {
			in.Args = append(in.Args, "--peer", strings.Join(addresses, ","))
			if id, known, err := (store.Dir{FS: fsys, Path: in.Dir}).ReadIdentity(); err != nil || !known {
				in.Args = append(in.Args, "--instance-name", name)
			} else {
				in.Name = id.InstanceName
			}
		}
		if o.ReplicationFactor > 1 {
			in.Args = append(in.Args, "--replication-factor", strconv.Itoa(o.ReplicationFactor))
		}
		p.Instances = append(p.Instances, in)
	}
	return p
}

// Find returns the instance of that name, or whose directory has that name.
func (p Plan) Find(name string) (Instance, error) {
	var names []string
	for _, in := range p.Instances {
		if in.Name == name || in.Dir == p.Dir+"/"+name {
			return in, nil
		}
		names = append(names, in.Name)
	}
	return Instance{}, fmt.Errorf("the demonstration in %s has no instance %q; it has %s", p.Dir, name, strings.Join(names, ", "))
}

// Text is what the command prints: addresses, the password, and one line to try with each client.
func (p Plan) Text(program string) string {
	first := p.Instances[0]
	host, port, _ := config.SplitAddress(first.Address)
	secret := string(p.password.Reveal())
	var b strings.Builder
	if len(p.Instances) == 1 {
		fmt.Fprintf(&b, "Lycosa demo: cluster demo, one instance in %s; Ctrl-C ends it, the data stays.\n\n", first.Dir)
		fmt.Fprintf(&b, "  iproto          %s\n  HTTP            http://%s\n  admin socket    %s/admin.sock\n", first.Address, first.HTTP, first.Dir)
	} else {
		fmt.Fprintf(&b, "Lycosa demo: cluster demo, %d instances in %s; Ctrl-C ends all, the data stays.\n\n", len(p.Instances), p.Dir)
		for _, in := range p.Instances {
			fmt.Fprintf(&b, "  %-15s iproto %s, HTTP http://%s, admin socket %s/admin.sock\n", in.Name, in.Address, in.HTTP, in.Dir)
		}
	}
	fmt.Fprintf(&b, "  user, password  admin, %s  (kept in %s)\n  log             %s\n\n", secret, p.PasswordFile, p.logs())
	b.WriteString("To try, each in another terminal:\n\n")
	fmt.Fprintf(&b, "  %s status --peer %s\n", program, first.Address)
	if len(p.Instances) > 1 {
		last := p.Instances[len(p.Instances)-1].Name
		fmt.Fprintf(&b, "  %s demo kill %s --dir %s    (and then: demo start %s)\n", program, last, p.Dir, last)
	}
	fmt.Fprintf(&b, "  curl -s http://%s/api/v1/instance\n", first.HTTP)
	fmt.Fprintf(&b, "  tarantool -e \"c = require('net.box').connect('admin:'..io.open('%s'):read()..'@%s'); print(c.state, c:ping()); "+
		"print(require('json').encode(c.space._vspace:select({}, {limit = 3}))); os.exit()\"\n", p.PasswordFile, first.Address)
	fmt.Fprintf(&b, "  node -e \"const T = require('tarantool-driver'); const c = new T({host: '%s', port: %d, lazyConnect: true, username: 'admin', "+
		"password: require('fs').readFileSync('%s', 'utf8').trim()}); c.connect().then(() => c.select(281, 0, 3, 0, 'all', [])).then(r => "+
		"{ console.log(JSON.stringify(r)); c.disconnect() })\"   (after npm install tarantool-driver)\n", host, port, p.PasswordFile)
	return b.String()
}

func (p Plan) logs() string {
	if len(p.Instances) == 1 {
		return p.Instances[0].Log
	}
	return p.Dir + "/*.log"
}
