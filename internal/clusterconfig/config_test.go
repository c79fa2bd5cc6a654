package clusterconfig

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/meter"
	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files")

func fromBootstrap(t interface{ Fatal(...any) }) Config {
	entries, err := catalog.Bootstrap(catalog.BootstrapParams{
		ClusterName: "demo", ClusterUUID: "11111111-1111-4111-8111-111111111111",
		InstanceUUID: "22222222-2222-4222-8222-222222222222", ReplicasetUUID: "33333333-3333-4333-8333-333333333333",
		Tier: "default", Version: "0.1.0", Address: "127.0.0.1:3301", HTTPAddress: "127.0.0.1:8081",
		FailureDomain: map[string]string{"DC": "1"},
		Tiers: []catalog.TierParams{
			{Name: "default", ReplicationFactor: 1, CanVote: true, BucketCount: 3000, WALMode: "fsync", IsDefault: true},
			{Name: "cache", ReplicationFactor: 2, BucketCount: 0, WALMode: "none"},
		},
		AutoOfflineTimeout: 5 * time.Second, ElectionTimeout: 1500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := catalog.New()
	for i, e := range entries {
		if _, _, err := s.Apply(uint64(i+1), 1, e); err != nil {
			t.Fatal(err)
		}
	}
	return FromCatalog(s)
}

// The files are what operators read; a change of them is a change of the format.
func TestFilesFromCatalog(t *testing.T) {
	sections, v, err := Encode(fromBootstrap(t), 1, 6)
	if err != nil {
		t.Fatal(err)
	}
	version, err := EncodeVersion(v)
	if err != nil {
		t.Fatal(err)
	}
	current, err := EncodeCurrent(1)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{SectionTopology: sections[SectionTopology], "VERSION": version, "CURRENT": current,
		SectionParameters: sections[SectionParameters]} {
		if !bytes.HasPrefix(b, []byte("format: 1\n")) {
			t.Errorf("%s does not begin with its format version", name)
		}
		file := "testdata/" + name
		if *rewrite {
			if err := os.WriteFile(file, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, b, want)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	c := fromBootstrap(t)
	sections, v, err := Encode(c, 7, 42)
	if err != nil {
		t.Fatal(err)
	}
	b, err := EncodeVersion(v)
	if err != nil {
		t.Fatal(err)
	}
	v2, err := DecodeVersion(b)
	if err != nil || v2 != v {
		t.Fatalf("version %+v became %+v, %v", v, v2, err)
	}
	got, err := Decode(sections, v2)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(c) {
		t.Fatalf("%v\nbecame\n%v\n%v", c, got, err)
	}
	if !got.Contains("22222222-2222-4222-8222-222222222222") || got.Contains("33333333-3333-4333-8333-333333333333") {
		t.Fatal("Contains does not know its instances")
	}
	name, i, ok := got.ByUUID("22222222-2222-4222-8222-222222222222")
	if !ok || name != "default_1_1" || i.RaftID != 1 || i.DataRaftID != 2 {
		t.Fatalf("instance %s %+v", name, i)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, v, err := Encode(fromBootstrap(t), 1, 6)
	if err != nil {
		t.Fatal(err)
	}
	topology := string(good[SectionTopology])
	deep := "a: " + strings.Repeat("[", 70) + strings.Repeat("]", 70)
	for name, c := range map[string]struct{ text, want string }{
		"empty":        {"", "topology.yml: is empty"},
		"not yaml":     {"a: [", "topology.yml: yaml: "},
		"unknown key":  {topology + "colour: red\n", "field colour not found"},
		"key twice":    {topology + "format: 1\n", "already defined"},
		"alias":        {"format: &x 1\ncluster: *x\n", "line 1: anchors and aliases are not allowed"},
		"merge":        {"a: &x {b: 1}\nc:\n  <<: *x\n", "anchors and aliases are not allowed"},
		"two in one":   {topology + "---\nformat: 1\n", "more than one document"},
		"too deep":     {deep, "nested deeper than 64"},
		"too long":     {topology + "#" + strings.Repeat("x", SectionBytesMax), "over the limit"},
		"wrong type":   {strings.Replace(topology, "raft_id: 1", "raft_id: one", 1), "cannot unmarshal"},
		"one byte":     {strings.Replace(topology, "127.0.0.1:3301", "127.0.0.1:3302", 1), "a file was changed"},
		"other uuid":   {strings.Replace(topology, "22222222-2", "22222222-9", 1), "a file was changed"},
		"not a number": {strings.Replace(topology, "weight: 0", "weight: .nan", 1), "a file was changed"},
	} {
		s := Sections{SectionTopology: []byte(c.text), SectionParameters: good[SectionParameters]}
		if _, err := Decode(s, v); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := Decode(Sections{SectionTopology: good[SectionTopology]}, v); err == nil ||
		err.Error() != "parameters.yml: is missing" {
		t.Errorf("missing section: %v", err)
	}
	v.Epoch++
	if _, err := Decode(good, v); err == nil || !strings.Contains(err.Error(), "not the cluster of VERSION") {
		t.Errorf("other epoch: %v", err)
	}
	for _, text := range []string{"", "format: 2\nversion: 1\n", "format: 1\n", "x", "format: 1\nversion: -1\n"} {
		if _, err := DecodeCurrent([]byte(text)); err == nil {
			t.Errorf("CURRENT %q is accepted", text)
		}
		if _, err := DecodeVersion([]byte(text)); err == nil {
			t.Errorf("VERSION %q is accepted", text)
		}
	}
}

func TestValidateNamesTheField(t *testing.T) {
	instance := func(c *Config, f func(*Instance)) {
		i := c.Topology.Instances["default_1_1"]
		f(&i)
		c.Topology.Instances["default_1_1"] = i
	}
	for want, change := range map[string]func(c *Config){
		"topology.yml: format: ":                                   func(c *Config) { c.Topology.Format = 2 },
		"topology.yml: cluster.name: ":                             func(c *Config) { c.Topology.Cluster.Name = "" },
		"topology.yml: cluster.uuid: ":                             func(c *Config) { c.Topology.Cluster.UUID = "x" },
		"topology.yml: cluster.epoch: ":                            func(c *Config) { c.Topology.Cluster.Epoch = 0 },
		"topology.yml: tiers: ":                                    func(c *Config) { c.Topology.Tiers = nil },
		"topology.yml: tiers.cache.replication_factor: ":           func(c *Config) { c.Topology.Tiers["cache"] = Tier{} },
		"topology.yml: instances: ":                                func(c *Config) { c.Topology.Instances = nil },
		"topology.yml: replicasets.default_1.tier: ":               func(c *Config) { delete(c.Topology.Tiers, "default") },
		"topology.yml: instances.default_1_1.replicaset: ":         func(c *Config) { delete(c.Topology.Replicasets, "default_1") },
		"topology.yml: instances.default_1_1.tier: ":               func(c *Config) { instance(c, func(i *Instance) { i.Tier = "cache" }) },
		"topology.yml: instances.default_1_1.uuid: ":               func(c *Config) { instance(c, func(i *Instance) { i.UUID = "33333333-3333-4333-8333-333333333333" }) },
		"topology.yml: instances.default_1_1.raft_id: ":            func(c *Config) { instance(c, func(i *Instance) { i.DataRaftID = 1 }) },
		"topology.yml: instances.default_1_1.address: ":            func(c *Config) { instance(c, func(i *Instance) { i.Address = "" }) },
		"parameters.yml: auto_offline_timeout: ":                   func(c *Config) { c.Parameters.AutoOfflineTimeout = -1 },
		"parameters.yml: election_timeout: ":                       func(c *Config) { c.Parameters.ElectionTimeout = 0 },
		"parameters.yml: tiers.cache.wal_mode: \"x\" is not fsync": func(c *Config) { c.Parameters.Tiers["cache"] = TierParameters{"x"} },
		"parameters.yml: tiers.other: ":                            func(c *Config) { c.Parameters.Tiers["other"] = TierParameters{"none"} },
	} {
		c := fromBootstrap(t)
		change(&c)
		err := c.Validate()
		var field *FieldError
		if !errors.As(err, &field) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
		if _, _, err := Encode(c, 1, 1); err == nil {
			t.Errorf("%q: an invalid configuration was encoded", want)
		}
	}
}

// Whatever is encoded is decoded to the same, and a changed byte in any file never goes unnoticed.
func TestChecksumCoversEverything(t *testing.T) {
	good, v, err := Encode(fromBootstrap(t), 1, 6)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{SectionTopology, SectionParameters}).Draw(t, "section")
		bad := Sections{SectionTopology: good[SectionTopology], SectionParameters: good[SectionParameters]}
		bad[name] = bytes.Clone(bad[name])
		bad[name][rapid.IntRange(0, len(bad[name])-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "xor"))
		if _, err := Decode(bad, v); err == nil {
			t.Fatal("a changed byte was not noticed")
		}
		more := Sections{SectionTopology: good[SectionTopology], SectionParameters: good[SectionParameters], "x.yml": nil}
		if _, err := Decode(more, v); err == nil {
			t.Fatal("an added section was not noticed")
		}
	})
}

func FuzzDecode(f *testing.F) {
	good, v, err := Encode(fromBootstrap(f), 1, 6)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[SectionTopology], good[SectionParameters])
	f.Add([]byte("a: &x [*x]"), []byte("? {}"))
	f.Fuzz(func(t *testing.T, topology, parameters []byte) {
		s := Sections{SectionTopology: topology, SectionParameters: parameters}
		v := v
		v.Checksum = s.Checksum() // it would stop every mutation
		size := len(topology) + len(parameters)
		meter.CheckBound(t, size, uint64(1<<20+1024*size), func() { _, _ = Decode(s, v) })
		meter.Check(t, size, 64, func() {
			_, _ = DecodeVersion(topology)
			_, _ = DecodeCurrent(parameters)
		})
		c, err := Decode(s, v)
		if err != nil {
			return
		}
		if _, _, err := Encode(c, 1, 6); err != nil {
			t.Fatalf("decoded but cannot be encoded: %v", err)
		}
	})
}
