package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlBytesMax bounds the configuration file.
const yamlBytesMax = 1 << 20

type yamlFile struct {
	settings map[string]setting
	tiers    map[string]Tier
}

// yamlReader walks one document; errors carry the file name and the line.
type yamlReader struct{ name string }

func (r yamlReader) errorf(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", r.name, n.Line, fmt.Sprintf(format, args...))
}

// parseYAML reads a configuration file. Scalars keep the text that the author wrote: 0777 is not a number in disguise.
func parseYAML(name string, data []byte) (yamlFile, error) {
	out := yamlFile{settings: make(map[string]setting)}
	if len(data) > yamlBytesMax {
		return out, fmt.Errorf("%s: longer than %d bytes", name, yamlBytesMax)
	}
	var doc yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return out, nil
	} else if err != nil {
		return out, fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	r := yamlReader{name}
	var second yaml.Node
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return out, fmt.Errorf("%s: there must be one YAML document", name)
	}
	if len(doc.Content) != 1 {
		return out, nil
	}
	params, names := paramsByName(func(p Param) bool { return !p.NoYAML })
	names = append(names, "tiers")
	return out, r.each(doc.Content[0], func(key, value *yaml.Node) error {
		if key.Value == "tiers" {
			tiers, err := r.tiers(value)
			out.tiers = tiers
			return err
		}
		if _, ok := params[key.Value]; !ok {
			return r.errorf(key, "unknown key %q%s", key.Value, didYouMean(key.Value, names, ""))
		}
		text, err := r.text(key, value)
		place := name + ":" + strconv.Itoa(key.Line)
		out.settings[key.Value] = setting{text: text, origin: Origin{Source: FromFile, Place: place}}
		return err
	})
}

// each calls fn for every pair of a mapping and refuses keys given twice.
func (r yamlReader) each(n *yaml.Node, fn func(key, value *yaml.Node) error) error {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		return r.errorf(n, "expected keys with values, as in `listen: 127.0.0.1:3301`")
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			return r.errorf(key, "a key must be a plain word")
		}
		if first, twice := seen[key.Value]; twice {
			return r.errorf(key, "key %q is given twice, first in line %d", key.Value, first)
		}
		seen[key.Value] = key.Line
		if err := fn(key, n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// text turns a value into the text that a flag would have: lists are joined by commas, mappings to key=value.
func (r yamlReader) text(key, value *yaml.Node) (string, error) {
	var parts []string
	switch value.Kind {
	case yaml.ScalarNode:
		return r.scalar(key, value)
	case yaml.SequenceNode:
		for _, item := range value.Content {
			text, err := r.scalar(key, item)
			if err != nil {
				return "", err
			}
			parts = append(parts, text)
		}
	case yaml.MappingNode:
		err := r.each(value, func(k, v *yaml.Node) error {
			text, err := r.scalar(k, v)
			parts = append(parts, k.Value+"="+text)
			return err
		})
		if err != nil {
			return "", err
		}
	default:
		return "", r.errorf(value, "key %q: aliases are not read here", key.Value)
	}
	return strings.Join(parts, ","), nil
}

func (r yamlReader) scalar(key, value *yaml.Node) (string, error) {
	if value.Kind != yaml.ScalarNode {
		return "", r.errorf(value, "key %q must have a plain value", key.Value)
	}
	if value.Tag == "!!null" || value.Value == "" {
		return "", r.errorf(key, "key %q has no value", key.Value)
	}
	return value.Value, nil
}

func (r yamlReader) tiers(n *yaml.Node) (map[string]Tier, error) {
	tiers := make(map[string]Tier)
	err := r.each(n, func(key, value *yaml.Node) error {
		if err := checkName(key.Value); err != nil {
			return r.errorf(key, "tiers: %v", err)
		}
		t, err := r.tier(key.Value, value)
		tiers[key.Value] = t
		return err
	})
	if err == nil && len(tiers) == 0 {
		err = r.errorf(n, "tiers: at least one tier must be described")
	}
	return tiers, err
}

func (r yamlReader) tier(name string, n *yaml.Node) (Tier, error) {
	t := Tier{CanVote: true, BucketCount: bucketCountDefault} // the rest is filled in by TierList
	modes := []string{"fsync", "write", "none"}
	keys := []string{"replication_factor", "can_vote", "wal_mode", "bucket_count"}
	fields := map[string]any{
		"replication_factor": &t.ReplicationFactor, "can_vote": &t.CanVote, "wal_mode": &t.WALMode,
		"bucket_count": &t.BucketCount,
	}
	given := map[string]bool{}
	err := r.each(n, func(key, value *yaml.Node) error {
		field, ok := fields[key.Value]
		given[key.Value] = true
		if !ok {
			return r.errorf(key, "tier %q: unknown key %q%s", name, key.Value, didYouMean(key.Value, keys, ""))
		}
		text, err := r.scalar(key, value)
		if err != nil {
			return err
		}
		if err := assign(field, text); err != nil {
			return r.errorf(value, "tier %q: %s: %v", name, key.Value, err)
		}
		return nil
	})
	if err != nil {
		return t, err
	}
	if err := checkFactor(t.ReplicationFactor); err != nil && given["replication_factor"] {
		return t, r.errorf(n, "tier %q: replication_factor: %v", name, err)
	}
	if !contains(modes, t.WALMode) && given["wal_mode"] {
		return t, r.errorf(n, "tier %q: wal_mode: %q is none of %s", name, t.WALMode, strings.Join(modes, ", "))
	}
	if t.BucketCount < 1 || t.BucketCount > bucketCountMax {
		return t, r.errorf(n, "tier %q: bucket_count: %d is not between 1 and %d", name, t.BucketCount, bucketCountMax)
	}
	return t, nil
}

// bucketCountMax bounds the buckets of a tier.
const bucketCountMax = 1 << 20
