package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Param is one row of the table.
type Param struct {
	// Name is the flag without dashes; the YAML key is the same, the environment name is EnvName.
	Name string
	// Group is the heading under which help and documentation show the parameter.
	Group string
	// Default is the default as text; DefaultDoc says in words what is computed.
	Default, DefaultDoc string
	// Doc is one sentence for help and documentation.
	Doc string
	// Hint stands for the value in help: "HOST:PORT".
	Hint string
	// Choices lists the allowed values, nil when the value is free.
	Choices []string
	// NoFlag, NoEnv, NoYAML close a way in.
	NoFlag, NoEnv, NoYAML bool
	// Secret values are never shown.
	Secret bool

	field func(*Config) any
	check func(*Config) error
}

// EnvName is the environment variable of the parameter.
func (p Param) EnvName() string {
	return "LYCOSA_" + strings.ToUpper(strings.ReplaceAll(p.Name, "-", "_"))
}

// IsBool reports whether the flag needs no value.
func (p Param) IsBool() bool {
	_, ok := p.field(new(Config)).(*bool)
	return ok
}

// The headings of the table.
const (
	groupPlace   = "Place in a cluster"
	groupNetwork = "Addresses and secrets"
	groupStorage = "Memory and disk"
	groupTiming  = "Timing"
	groupLogs    = "Logs"
	groupProcess = "Process"
)

// Table returns the parameters in the order of help and documentation.
func Table() []Param {
	table := placeParams()
	table = append(table, networkParams()...)
	table = append(table, storageParams()...)
	table = append(table, timingParams()...)
	return append(table, processParams()...)
}

func placeParams() []Param {
	return []Param{
		{Name: "cluster-name", Group: groupPlace, Default: "demo", Hint: "NAME", Doc: "Name of the cluster.",
			field: func(c *Config) any { return &c.ClusterName }, check: func(c *Config) error { return checkName(c.ClusterName) }},
		{Name: "instance-name", Group: groupPlace, DefaultDoc: "given by the leader", Hint: "NAME",
			Doc:   "Name of this instance in the cluster.",
			field: func(c *Config) any { return &c.InstanceName }, check: func(c *Config) error { return checkOptionalName(c.InstanceName) }},
		{Name: "replicaset", Group: groupPlace, DefaultDoc: "given by the leader", Hint: "NAME",
			Doc:   "Name of the replicaset this instance shall belong to.",
			field: func(c *Config) any { return &c.Replicaset }, check: func(c *Config) error { return checkOptionalName(c.Replicaset) }},
		{Name: "tier", Group: groupPlace, Default: DefaultTier, Hint: "NAME", Doc: "Tier this instance belongs to.",
			field: func(c *Config) any { return &c.Tier }, check: func(c *Config) error { return checkName(c.Tier) }},
		{Name: "failure-domain", Group: groupPlace, DefaultDoc: "none", Hint: "KEY=VALUE,…",
			Doc:   "Where the instance stands; replicas of one replicaset are placed apart.",
			field: func(c *Config) any { return &c.FailureDomain }},
		{Name: "peer", Group: groupPlace, DefaultDoc: "own address", Hint: "HOST:PORT,…", NoEnv: true,
			Doc:   "Addresses to ask for a cluster; may be repeated. LYCOSA_PEER belongs to the client commands and is not read.",
			field: func(c *Config) any { return &c.Peers }, check: func(c *Config) error { return eachError(c.Peers, checkPeer) }},
		{Name: "replication-factor", Group: groupPlace, Default: "1", Hint: "N",
			Doc:   "Replicas of each replicaset of the default tier; read when the cluster is created.",
			field: func(c *Config) any { return &c.ReplicationFactor }, check: func(c *Config) error { return checkFactor(c.ReplicationFactor) }},
		{Name: "assembly", Group: groupPlace, Default: "auto", Choices: []string{"auto", "manual"},
			Doc:   "Who decides that an unconfigured instance gets a place: discovery, or an operator.",
			field: func(c *Config) any { return &c.Assembly }},
	}
}

func networkParams() []Param {
	return []Param{
		{Name: "listen", Group: groupNetwork, Default: "127.0.0.1:3301", Hint: "HOST:PORT",
			Doc:   "Address of the binary protocol (TCP) and of membership messages (UDP).",
			field: func(c *Config) any { return &c.Listen }, check: func(c *Config) error { return checkAddress(c.Listen) }},
		{Name: "advertise", Group: groupNetwork, DefaultDoc: "the value of `listen`", Hint: "HOST:PORT",
			Doc:   "How others reach the address of --listen; required when that is a wildcard.",
			field: func(c *Config) any { return &c.Advertise }, check: func(c *Config) error { return checkOptionalPeer(c.Advertise) }},
		{Name: "http-listen", Group: groupNetwork, DefaultDoc: "no HTTP", Hint: "HOST:PORT", Doc: "Address of the HTTP server.",
			field: func(c *Config) any { return &c.HTTPListen }, check: func(c *Config) error { return checkHTTPAddress(c.HTTPListen) }},
		{Name: "cookie-file", Group: groupNetwork, DefaultDoc: "`<data-dir>/.cookie`", Hint: "FILE",
			Doc:   "File with the secret that the instances of a cluster share: 16 to 256 printable characters.",
			field: func(c *Config) any { return &c.CookieFile }},
		{Name: "admin-password-file", Group: groupNetwork, DefaultDoc: "none", Hint: "FILE",
			Doc:   "File with the first password of user admin; read when the cluster is created, never later.",
			field: func(c *Config) any { return &c.AdminPasswordFile }},
		{Name: "admin-password", Group: groupNetwork, DefaultDoc: "none", NoFlag: true, NoYAML: true, Secret: true,
			Doc:   "First password of user admin, by environment only.",
			field: func(c *Config) any { return &c.AdminPassword }},
	}
}

func storageParams() []Param {
	return []Param{
		{Name: "data-dir", Group: groupStorage, Default: "./lycosa-data", Hint: "DIR", Doc: "Directory of this instance's files.",
			field: func(c *Config) any { return &c.DataDir }, check: func(c *Config) error { return checkPath(c.DataDir) }},
		{Name: "memory", Group: groupStorage, DefaultDoc: "25% of RAM or of the cgroup limit", Hint: "SIZE",
			Doc:   "Quota of tuples and indexes.",
			field: func(c *Config) any { return &c.MemoryBytes }, check: func(c *Config) error { return checkMemory(c.MemoryBytes) }},
		{Name: "wal-mode", Group: groupStorage, Default: "fsync", Choices: []string{"fsync", "write", "none"},
			Doc:   "When a write of the default tier is acknowledged: after its sync, after its write, at once.",
			field: func(c *Config) any { return &c.WALMode }},
		{Name: "checkpoint-interval", Group: groupStorage, Default: "1h", Hint: "DURATION",
			Doc:   "Time between snapshots; 0 makes none by time.",
			field: func(c *Config) any { return &c.CheckpointInterval }},
		{Name: "checkpoint-wal-size", Group: groupStorage, Default: "1GiB", Hint: "SIZE",
			Doc:   "Size of the log since the last snapshot that makes the next one; 0 makes none by size.",
			field: func(c *Config) any { return &c.CheckpointWALSize }},
	}
}

func timingParams() []Param {
	return []Param{
		{Name: "election-timeout", Group: groupTiming, Default: "1s", Hint: "DURATION",
			Doc:   "Silence after which a leader is replaced; read when the cluster is created, the same on all instances.",
			field: func(c *Config) any { return &c.ElectionTimeout },
			check: func(c *Config) error { return checkBetween(c.ElectionTimeout, 50*time.Millisecond, 10*time.Minute) }},
		{Name: "auto-offline-timeout", Group: groupTiming, Default: "5s", Hint: "DURATION",
			Doc:   "Silence after which an instance is marked offline; read when the cluster is created.",
			field: func(c *Config) any { return &c.AutoOfflineTimeout },
			check: func(c *Config) error { return checkBetween(c.AutoOfflineTimeout, 100*time.Millisecond, 24*time.Hour) }},
		{Name: "shutdown-timeout", Group: groupTiming, Default: "3s", Hint: "DURATION",
			Doc:   "Longest wait, on a stop, for the cluster to see the instance go.",
			field: func(c *Config) any { return &c.ShutdownTimeout },
			check: func(c *Config) error { return checkBetween(c.ShutdownTimeout, 0, time.Hour) }},
		{Name: "boot-timeout", Group: groupTiming, Default: "2h", Hint: "DURATION",
			Doc:   "Longest wait for a place in a cluster.",
			field: func(c *Config) any { return &c.BootTimeout },
			check: func(c *Config) error { return checkBetween(c.BootTimeout, time.Second, 1000*time.Hour) }},
	}
}

func processParams() []Param {
	return []Param{
		{Name: "log-level", Group: groupLogs, Default: "info", Choices: []string{"debug", "info", "warn", "error"},
			Doc:   "Least important level that is logged.",
			field: func(c *Config) any { return &c.LogLevel }},
		{Name: "log-format", Group: groupLogs, Default: "text", Choices: []string{"text", "json"}, Doc: "Form of a log line.",
			field: func(c *Config) any { return &c.LogFormat }},
		{Name: "log-file", Group: groupLogs, DefaultDoc: "stderr", Hint: "FILE", Doc: "Log file; reopened on SIGHUP.",
			field: func(c *Config) any { return &c.LogFile }},
		{Name: "audit", Group: groupLogs, DefaultDoc: "`<data-dir>/audit.log`", Hint: "FILE",
			Doc:   "Security audit log; reopened on SIGHUP.",
			field: func(c *Config) any { return &c.Audit }},
		{Name: "config", Group: groupProcess, DefaultDoc: "none", Hint: "FILE", NoYAML: true,
			Doc:   "YAML file with these parameters; its keys are the flag names.",
			field: func(c *Config) any { return &c.ConfigFile }},
		{Name: "script", Group: groupProcess, DefaultDoc: "none", Hint: "FILE",
			Doc:   "Lua script run when the instance serves (not in this version).",
			field: func(c *Config) any { return &c.Script }, check: func(c *Config) error { return checkScript(c.Script) }},
		{Name: "no-restart", Group: groupProcess, Default: "false", Doc: "End with the instance's exit code instead of restarting it.",
			field: func(c *Config) any { return &c.NoRestart }},
		{Name: "proxy-writes", Group: groupProcess, Default: "true", Doc: "A replica passes writes on to its leader.",
			field: func(c *Config) any { return &c.ProxyWrites }},
	}
}

// nameBytesMax bounds names of clusters, instances, replicasets and tiers.
const nameBytesMax = 63

func checkOptionalName(name string) error {
	if name == "" {
		return nil
	}
	return checkName(name)
}

func checkName(name string) error {
	ok := name != "" && len(name) <= nameBytesMax
	for i := 0; i < len(name) && ok; i++ {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		ok = letter || i > 0 && (c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.')
	}
	if !ok {
		return fmt.Errorf("%q is not a name: a letter, then letters, digits, '_', '-' or '.', at most %d", name, nameBytesMax)
	}
	return nil
}

func checkOptionalPeer(address string) error {
	if address == "" {
		return nil
	}
	return checkPeer(address)
}

func checkFactor(n uint32) error {
	if n < 1 || n > 32 {
		return fmt.Errorf("%d is not between 1 and 32", n)
	}
	return nil
}

func checkPath(path string) error {
	if path == "" || strings.ContainsRune(path, 0) {
		return errors.New("must name a path")
	}
	return nil
}

// The least and the largest quota: a system's own rows must fit, and the address range must be reservable.
const (
	memoryBytesMin = 16 << 20
	memoryBytesMax = 16 << 40
)

func checkMemory(n Size) error {
	if n < memoryBytesMin || n > memoryBytesMax {
		return fmt.Errorf("%s is not between %s and %s", n, Size(memoryBytesMin), Size(memoryBytesMax))
	}
	return nil
}

func checkScript(path string) error {
	if path != "" {
		return errors.New("this version cannot run Lua scripts; leave the parameter out")
	}
	return nil
}

func checkBetween(d, low, high time.Duration) error {
	if d < low || d > high {
		return fmt.Errorf("%s is not between %s and %s", formatDuration(d), formatDuration(low), formatDuration(high))
	}
	return nil
}

func eachError(values []string, check func(string) error) error {
	for _, v := range values {
		if err := check(v); err != nil {
			return err
		}
	}
	return nil
}
