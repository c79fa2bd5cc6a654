package datadir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
)

// FileBytesMax bounds the small files of a data directory.
const FileBytesMax = 4 << 20

// formatVersion is that of all three small files.
const formatVersion = 1

// ErrNewerFormat is in the chain when a file was written by a newer version of the program.
var ErrNewerFormat = errors.New("written by a newer version")

// record is one of the three small files.
type record interface{ Check() error }

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// EncodeIdentity writes the identity file: a line with kind, format version and checksum, then JSON.
func EncodeIdentity(id Identity) ([]byte, error) { return encode(IdentityFile, id) }

// DecodeIdentity reads an identity file. Any damage is an error.
func DecodeIdentity(data []byte) (Identity, error) { return decode[Identity](IdentityFile, data) }

// EncodeEntrypoint writes the entrypoint file.
func EncodeEntrypoint(e Entrypoint) ([]byte, error) { return encode(EntrypointFile, e) }

// DecodeEntrypoint reads an entrypoint file. Any damage is an error.
func DecodeEntrypoint(data []byte) (Entrypoint, error) {
	return decode[Entrypoint](EntrypointFile, data)
}

// EncodeDiscovery writes the discovery file.
func EncodeDiscovery(d DiscoveryRecord) ([]byte, error) { return encode(DiscoveryFile, d) }

// DecodeDiscovery reads a discovery file. Any damage is an error.
func DecodeDiscovery(data []byte) (DiscoveryRecord, error) {
	return decode[DiscoveryRecord](DiscoveryFile, data)
}

func encode(kind string, r record) ([]byte, error) {
	if err := r.Check(); err != nil {
		return nil, fmt.Errorf("datadir: encode %s: %w", kind, err)
	}
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("datadir: encode %s: %w", kind, err)
	}
	body = append(body, '\n')
	return append([]byte(header(kind, formatVersion, body)), body...), nil
}

func header(kind string, version int, body []byte) string {
	return fmt.Sprintf("lycosa %s %d crc32c %08x\n", kind, version, crc32.Checksum(body, castagnoli()))
}

func decode[T record](kind string, data []byte) (T, error) {
	var out, none T
	body, err := verify(kind, data)
	if err == nil {
		err = json.Unmarshal(body, &out)
	}
	if err == nil {
		err = out.Check()
	}
	if err != nil {
		return none, fmt.Errorf("datadir: read %s: %w", kind, err)
	}
	return out, nil
}

// verify checks the first line against the rest and returns the rest.
func verify(kind string, data []byte) ([]byte, error) {
	if len(data) > FileBytesMax {
		return nil, fmt.Errorf("longer than %d bytes", FileBytesMax)
	}
	line, body, found := bytes.Cut(data, []byte("\n"))
	if !found {
		return nil, errors.New("the file is empty or cut off")
	}
	var gotKind string
	var version int
	var sum uint32
	if n, err := fmt.Sscanf(string(line), "lycosa %s %d crc32c %08x", &gotKind, &version, &sum); err != nil || n != 3 {
		return nil, errors.New("the first line is not that of a file of Lycosa")
	}
	switch {
	case gotKind != kind:
		return nil, fmt.Errorf("the file is of kind %q", gotKind)
	case version > formatVersion:
		return nil, fmt.Errorf("format version %d: %w", version, ErrNewerFormat)
	case string(line)+"\n" != header(kind, formatVersion, body):
		return nil, errors.New("the checksum does not match, the file is damaged")
	}
	return body, nil
}

// KindOf tells which of the small files data begins like, for tools that look at any file.
func KindOf(data []byte) (kind string, ok bool) {
	for _, k := range []string{IdentityFile, EntrypointFile, DiscoveryFile} {
		if bytes.HasPrefix(data, []byte("lycosa "+k+" ")) {
			return k, true
		}
	}
	return "", false
}

// Verify checks the first line and the checksum of a small file of the given kind and returns its JSON, for tools.
func Verify(kind string, data []byte) ([]byte, error) { return verify(kind, data) }
