// Package config holds the parameters of a process: one table from which flags, environment, YAML keys, defaults, the
// reference page and the origin of every value come. Pure: files are read through a function that the caller gives.
// It is not the cluster-wide configuration (package clusterconfig), and it decides nothing about the data directory
// (package datadir).
package config

//go:generate go run ./gen

import (
	"fmt"
	"sort"
	"time"
)

// Config is the checked set of parameters of one process. The zero value is not usable: Load makes one.
type Config struct {
	// ConfigFile is the path of the YAML file the values came from, or empty.
	ConfigFile string
	// DataDir is the directory of this instance's files.
	DataDir string
	// ClusterName is the name that every instance of the cluster must give.
	ClusterName string
	// InstanceName and Replicaset are empty when the leader shall give them.
	InstanceName, Replicaset string
	// Tier is the name of the tier this instance belongs to.
	Tier string
	// FailureDomain places the instance, for example {"dc": "east"}; nil when not given.
	FailureDomain map[string]string
	// Peers are the addresses first asked for a cluster; never empty, the own address by default.
	Peers []string
	// ReplicationFactor is that of the default tier, 1 to 32.
	ReplicationFactor uint32
	// Assembly is "auto" or "manual".
	Assembly string
	// Listen is the address of iproto (TCP) and SWIM (UDP); Advertise is how others reach it.
	Listen, Advertise string
	// HTTPListen is empty when no HTTP was asked for.
	HTTPListen string
	// MemoryBytes is the quota of tuples and indexes.
	MemoryBytes Size
	// WALMode of the default tier: "fsync", "write" or "none".
	WALMode string
	// CheckpointInterval is the time between snapshots, 0 for never by time.
	CheckpointInterval time.Duration
	// CheckpointWALSize is the log size that makes a snapshot due, 0 for never by size.
	CheckpointWALSize Size
	// ElectionTimeout is read by Boot and then belongs to the cluster.
	ElectionTimeout time.Duration
	// AutoOfflineTimeout is read by Boot and then belongs to the catalog.
	AutoOfflineTimeout time.Duration
	// ShutdownTimeout bounds the wait for grade Offline, BootTimeout the wait for a place in a cluster.
	ShutdownTimeout, BootTimeout time.Duration
	// LogLevel is debug, info, warn or error; LogFormat text or json; LogFile empty for stderr.
	LogLevel, LogFormat, LogFile string
	// Script is the path of a Lua script, empty for none.
	Script string
	// Audit is the path of the audit log, empty for the one in the data directory; see AuditPath.
	Audit string
	// CookieFile is empty for the one in the data directory; see CookiePath.
	CookieFile string
	// AdminPasswordFile is the path the admin's first password is read from, empty for none.
	AdminPasswordFile string
	// AdminPassword is the admin's first password when it came by environment.
	AdminPassword Secret
	// NoRestart makes the parent end with the child's exit code.
	NoRestart bool
	// ProxyWrites makes a replica pass writes on to its leader.
	ProxyWrites bool
	// Tiers is the YAML section `tiers:`, nil when it is not given; see TierList.
	Tiers map[string]Tier

	origins map[string]Origin
	texts   map[string]string
}

// Tier is one entry of the YAML section `tiers:`.
type Tier struct {
	ReplicationFactor uint32 `json:"replication_factor"`
	CanVote           bool   `json:"can_vote"`
	WALMode           string `json:"wal_mode"`
	BucketCount       uint32 `json:"bucket_count"`
}

// NamedTier is a tier with its name, as TierList returns them.
type NamedTier struct {
	Name string
	Tier
}

// Source says where a value came from, weakest first.
type Source uint8

// The sources, in ascending order of strength.
const (
	FromDefault Source = iota
	FromFile
	FromEnv
	FromFlag
)

// Origin is the provenance of one value.
type Origin struct {
	Source Source `json:"source"`
	// Place is a person's description: "--listen", "LYCOSA_LISTEN", "lycosa.yml:3", "default".
	Place string `json:"place"`
}

// String returns the place.
func (o Origin) String() string { return o.Place }

// Given reports whether the value was given by anyone, that is, is not the default.
func (o Origin) Given() bool { return o.Source != FromDefault }

// Origin returns where the parameter with this name (without dashes, as in the table) got its value.
func (c *Config) Origin(name string) Origin {
	if o, ok := c.origins[name]; ok {
		return o
	}
	return Origin{Source: FromDefault, Place: "default"}
}

// AuditPath is the path of the audit log.
func (c *Config) AuditPath() string {
	if c.Audit != "" {
		return c.Audit
	}
	return c.DataDir + "/audit.log"
}

// CookiePath is the path of the cookie file.
func (c *Config) CookiePath() string {
	if c.CookieFile != "" {
		return c.CookieFile
	}
	return c.DataDir + "/.cookie"
}

// AdminSocketPath is the path of the admin socket.
func (c *Config) AdminSocketPath() string { return c.DataDir + "/admin.sock" }

// DefaultTier is the name of the tier that exists without being described.
const DefaultTier = "default"

// bucketCountDefault is the number of buckets of a tier that does not say another.
const bucketCountDefault = 3000

// walModeDefault is how the rows of a tier are logged that does not say otherwise.
const walModeDefault = "fsync"

// TierList returns the tiers that Boot writes, sorted by name: those of the section `tiers:`, or the default tier alone.
// A replication factor or log mode given by flag or environment rules over the section's for the default tier.
func (c *Config) TierList() []NamedTier {
	list := make([]NamedTier, 0, len(c.Tiers)+1)
	for name, t := range c.Tiers {
		t = c.completeTier(name, t)
		if name == DefaultTier {
			t = c.overrideDefaultTier(t)
		}
		list = append(list, NamedTier{name, t})
	}
	if len(list) == 0 {
		list = append(list, NamedTier{DefaultTier, Tier{
			ReplicationFactor: c.ReplicationFactor, CanVote: true, WALMode: c.WALMode, BucketCount: bucketCountDefault,
		}})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// completeTier fills in what a section of a tier leaves out. For the default tier that is what the file says outside of
// the section.
func (c *Config) completeTier(name string, t Tier) Tier {
	if t.ReplicationFactor == 0 {
		t.ReplicationFactor = 1
		if name == DefaultTier {
			t.ReplicationFactor = c.ReplicationFactor
		}
	}
	if t.WALMode == "" {
		t.WALMode = walModeDefault
		if name == DefaultTier {
			t.WALMode = c.WALMode
		}
	}
	return t
}

func (c *Config) overrideDefaultTier(t Tier) Tier {
	if c.Origin("replication-factor").Source > FromFile {
		t.ReplicationFactor = c.ReplicationFactor
	}
	if c.Origin("wal-mode").Source > FromFile {
		t.WALMode = c.WALMode
	}
	return t
}

// Value is one parameter with its value as text and where it came from.
type Value struct {
	Name, Text string
	Origin     Origin
}

// Values lists all parameters in the order of the table. Secrets show as "[secret]".
func (c *Config) Values() []Value {
	values := make([]Value, 0, len(c.texts))
	for _, p := range Table() {
		values = append(values, Value{Name: p.Name, Text: c.texts[p.Name], Origin: c.Origin(p.Name)})
	}
	return values
}

// Known is what the identity file of a used data directory says about names.
type Known struct{ ClusterName, InstanceName, Replicaset, Tier string }

// CheckUsed compares given names with those of a used data directory. The error names both values of the first conflict;
// ignored lists the given parameters that matter only when an instance is made.
func (c *Config) CheckUsed(k Known) (ignored []string, err error) {
	for _, n := range []struct{ name, given, known string }{
		{"cluster-name", c.ClusterName, k.ClusterName},
		{"instance-name", c.InstanceName, k.InstanceName},
		{"replicaset", c.Replicaset, k.Replicaset},
		{"tier", c.Tier, k.Tier},
	} {
		if o := c.Origin(n.name); o.Given() && n.given != n.known {
			return nil, fmt.Errorf("%s (%s) is %q, but the data directory %s belongs to %s %q", n.name, o, n.given,
				c.DataDir, n.name, n.known)
		}
	}
	for _, name := range []string{"peer", "replication-factor", "wal-mode", "election-timeout", "auto-offline-timeout",
		"admin-password", "admin-password-file"} {
		if c.Origin(name).Given() {
			ignored = append(ignored, name)
		}
	}
	if c.Tiers != nil {
		ignored = append(ignored, "tiers")
	}
	return ignored, nil
}
