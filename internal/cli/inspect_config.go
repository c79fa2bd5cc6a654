package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/clusterconfig"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/sys"
)

// The files of a copy of the cluster-wide configuration have no magic: they are YAML for people, told by their names.
const (
	configVersionFile = "VERSION"
	configCurrentFile = "CURRENT"
	configSuffix      = ".yml"
	configSmallMax    = 4096
)

func isConfigCopy(path string) bool {
	base := filepath.Base(path)
	return base == configVersionFile || base == configCurrentFile || strings.HasSuffix(base, configSuffix)
}

// inspectConfig shows VERSION or one section, after the checksum over the whole folder was verified, or CURRENT.
func (a *app) inspectConfig(path string, out io.Writer) error {
	base, folder := filepath.Base(path), filepath.Dir(path)
	if base == configCurrentFile {
		data, err := sys.ReadFile(a.fs, path, configSmallMax)
		if err != nil {
			return err
		}
		number, err := clusterconfig.DecodeCurrent(data)
		if err != nil {
			return err
		}
		return writeLine(out, map[string]any{"kind": "config current", "version": number})
	}
	version, sections, err := a.readConfigFolder(folder)
	if err != nil {
		return err
	}
	if _, err := clusterconfig.Decode(sections, version); err != nil {
		return err
	}
	if base == configVersionFile {
		return writeLine(out, map[string]any{"kind": "config version", "version": version.Number, "cluster_uuid": version.ClusterUUID,
			"epoch": version.Epoch, "catalog_index": version.CatalogIndex, "checksum": version.Checksum, "sections": sortedNames(sections)})
	}
	var content any
	if err := yaml.Unmarshal(sections[base], &content); err != nil {
		return fmt.Errorf("section %s: %w", base, err)
	}
	return writeLine(out, map[string]any{"kind": "config section", "section": base, "version": version.Number, "content": content})
}

func (a *app) readConfigFolder(folder string) (clusterconfig.Version, clusterconfig.Sections, error) {
	data, err := sys.ReadFile(a.fs, filepath.Join(folder, configVersionFile), configSmallMax)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("there is no file VERSION beside it: this is not a copy of the cluster-wide configuration")
	}
	if err != nil {
		return clusterconfig.Version{}, nil, err
	}
	version, err := clusterconfig.DecodeVersion(data)
	if err != nil {
		return version, nil, fmt.Errorf("VERSION: %w", err)
	}
	entries, err := a.fs.ReadDir(folder)
	if err != nil {
		return version, nil, err
	}
	sections := clusterconfig.Sections{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), configSuffix) {
			continue
		}
		if len(sections) == clusterconfig.SectionsMax {
			return version, nil, fmt.Errorf("more than %d sections", clusterconfig.SectionsMax)
		}
		path := filepath.Join(folder, e.Name())
		if sections[e.Name()], err = sys.ReadFile(a.fs, path, clusterconfig.SectionBytesMax); err != nil {
			return version, nil, err
		}
	}
	return version, sections, nil
}

func sortedNames(sections clusterconfig.Sections) []string {
	var names []string
	for name := range sections {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// inspectCatalog shows a snapshot of the catalog: its position and members, then each row of each table.
func (a *app) inspectCatalog(path string, out io.Writer) error {
	f, err := a.fs.OpenFile(path, 0, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := catalog.DecodeSnapshot(f)
	if err != nil {
		return err
	}
	index, term := s.State.Position()
	err = writeLine(out, map[string]any{"kind": "catalog snapshot", "index": index, "term": term, "voters": s.Voters, "learners": s.Learners,
		"outgoing": s.Outgoing, "learners_next": s.LearnersNext})
	for _, def := range catalog.Defs() {
		s.State.Ascend(def.ID, func(row []byte) bool {
			if err == nil {
				err = writeCatalogRow(out, def, row)
			}
			return err == nil
		})
	}
	return err
}

func writeCatalogRow(out io.Writer, def catalog.TableDef, row []byte) error {
	text, err := msgpack.ToJSON(nil, row)
	if err != nil {
		return err
	}
	return writeLine(out, struct {
		Table   string          `json:"table"`
		SpaceID uint32          `json:"space_id"`
		Tuple   json.RawMessage `json:"tuple"`
	}{def.Name, def.ID, text})
}
