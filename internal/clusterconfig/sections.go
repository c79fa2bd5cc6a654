package clusterconfig

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Names of the sections, which are the names of their files.
const (
	SectionTopology   = "topology.yml"
	SectionParameters = "parameters.yml"
)

// Limits of sections.
const (
	SectionBytesMax = 1 << 20
	SectionsMax     = 64
	yamlDepthMax    = 64
)

// Sections are the files of a configuration by name.
type Sections map[string][]byte

// Version says what a copy of the configuration was made from.
type Version struct {
	Number       uint64 // counts up within a cluster, from 1
	ClusterUUID  string
	Epoch        uint64
	CatalogIndex uint64 // the catalog's position at which it was made
	Checksum     string // of the sections
}

// Encode makes the files of a configuration and its version. A configuration that is not valid is refused.
func Encode(c Config, number, catalogIndex uint64) (Sections, Version, error) {
	if err := c.Validate(); err != nil {
		return nil, Version{}, err
	}
	s := Sections{}
	for name, v := range map[string]any{SectionTopology: c.Topology, SectionParameters: c.Parameters} {
		b, err := yaml.Marshal(v)
		if err != nil {
			return nil, Version{}, fmt.Errorf("encode section %s: %w", name, err)
		}
		if len(b) > SectionBytesMax {
			return nil, Version{}, &FieldError{name, "", tooLong(len(b))}
		}
		s[name] = b
	}
	v := Version{Number: number, ClusterUUID: c.Topology.Cluster.UUID, Epoch: c.Topology.Cluster.Epoch,
		CatalogIndex: catalogIndex, Checksum: s.Checksum()}
	return s, v, nil
}

func tooLong(n int) string {
	return fmt.Sprintf("%d bytes are over the limit of %d", n, SectionBytesMax)
}

// Checksum returns a SHA-256 over names and contents of all sections, as "sha256:" and hexadecimal digits.
func (s Sections) Checksum() string {
	h := sha256.New()
	for _, name := range sorted(s) {
		io.WriteString(h, name+"\x00"+strconv.Itoa(len(s[name]))+"\x00")
		h.Write(s[name])
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Decode reads the files of a configuration, and checks that they are the ones that the version was made for and that the
// configuration is valid. Sections that are not known here are covered by the checksum and otherwise left alone.
func Decode(s Sections, v Version) (Config, error) {
	if len(s) > SectionsMax {
		return Config{}, fmt.Errorf("%d sections are over the limit of %d", len(s), SectionsMax)
	}
	var c Config
	if err := decodeSection(s, SectionTopology, &c.Topology); err != nil {
		return Config{}, err
	}
	if err := decodeSection(s, SectionParameters, &c.Parameters); err != nil {
		return Config{}, err
	}
	if got := s.Checksum(); got != v.Checksum {
		return Config{}, fmt.Errorf("the sections have checksum %s, VERSION says %s: a file was changed", got, v.Checksum)
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	if c.Topology.Cluster.UUID != v.ClusterUUID || c.Topology.Cluster.Epoch != v.Epoch {
		return Config{}, &FieldError{SectionTopology, "cluster", "is not the cluster of VERSION"}
	}
	return c, nil
}

func decodeSection(s Sections, name string, into any) error {
	b, ok := s[name]
	if !ok {
		return &FieldError{name, "", "is missing"}
	}
	if err := unmarshal(b, into); err != nil {
		return &FieldError{name, "", err.Error()}
	}
	return nil
}

// unmarshal reads one YAML document strictly: no aliases, no unknown or repeated keys, bounded size and depth.
func unmarshal(b []byte, into any) error {
	if len(b) > SectionBytesMax {
		return errors.New(tooLong(len(b)))
	}
	var doc yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("is empty")
		}
		return err
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("holds more than one document")
	}
	if err := checkYAML(&doc, 0); err != nil {
		return err
	}
	d = yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	return d.Decode(into)
}

// checkYAML walks a YAML tree; its depth is bounded.
func checkYAML(n *yaml.Node, depth int) error {
	if depth > yamlDepthMax {
		return fmt.Errorf("line %d: nested deeper than %d", n.Line, yamlDepthMax)
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return fmt.Errorf("line %d: anchors and aliases are not allowed", n.Line)
	}
	for _, child := range n.Content {
		if err := checkYAML(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// versionFile is the file VERSION; its format number comes first.
type versionFile struct {
	Format       int    `yaml:"format"`
	Version      uint64 `yaml:"version"`
	ClusterUUID  string `yaml:"cluster_uuid"`
	Epoch        uint64 `yaml:"epoch"`
	CatalogIndex uint64 `yaml:"catalog_index"`
	Checksum     string `yaml:"checksum"`
}

// EncodeVersion makes the content of the file VERSION.
func EncodeVersion(v Version) ([]byte, error) {
	return yaml.Marshal(versionFile{formatVersion, v.Number, v.ClusterUUID, v.Epoch, v.CatalogIndex, v.Checksum})
}

// DecodeVersion reads the file VERSION.
func DecodeVersion(b []byte) (Version, error) {
	var f versionFile
	if err := unmarshal(b, &f); err != nil {
		return Version{}, err
	}
	if f.Format != formatVersion {
		return Version{}, fmt.Errorf("format %d is not known, only %d", f.Format, formatVersion)
	}
	if f.Version == 0 || !isUUID(f.ClusterUUID) {
		return Version{}, errors.New("version and cluster_uuid must be given")
	}
	return Version{f.Version, f.ClusterUUID, f.Epoch, f.CatalogIndex, f.Checksum}, nil
}

// currentFile is the file CURRENT.
type currentFile struct {
	Format  int    `yaml:"format"`
	Version uint64 `yaml:"version"`
}

// EncodeCurrent makes the content of the file CURRENT, which names the version to be used.
func EncodeCurrent(number uint64) ([]byte, error) {
	return yaml.Marshal(currentFile{formatVersion, number})
}

// DecodeCurrent reads the file CURRENT.
func DecodeCurrent(b []byte) (number uint64, err error) {
	var f currentFile
	if err := unmarshal(b, &f); err != nil {
		return 0, err
	}
	if f.Format != formatVersion || f.Version == 0 {
		return 0, fmt.Errorf("format %d version %d is not known", f.Format, f.Version)
	}
	return f.Version, nil
}
