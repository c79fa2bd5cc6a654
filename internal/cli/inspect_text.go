package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/lycosadb/lycosa/internal/audit"
	"github.com/lycosadb/lycosa/internal/config"
	"github.com/lycosadb/lycosa/internal/sys"
)

// checksumSuffix ends the name of the file that keeps the checksum of the snapshot beside it.
const checksumSuffix = ".sha256"

// inspectAudit shows the lines of an audit log and verifies its chain on the way.
func (a *app) inspectAudit(path string, out io.Writer) error {
	f, err := a.fs.OpenFile(path, 0, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = audit.Verify(io.TeeReader(f, out))
	return err
}

// inspectChecksum compares a checksum with the file that it is about.
func (a *app) inspectChecksum(path string, out io.Writer) error {
	const bytesMax = 4096
	data, err := sys.ReadFile(a.fs, path, bytesMax)
	if err != nil {
		return err
	}
	var format int
	var want string
	if _, err := fmt.Sscanf(string(data), "%d sha256 %s", &format, &want); err != nil || format != 1 {
		return errors.New("not a checksum of format 1")
	}
	f, err := a.fs.OpenFile(strings.TrimSuffix(path, checksumSuffix), 0, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	got := hex.EncodeToString(h.Sum(nil))
	if err := writeLine(out, map[string]any{"kind": "checksum", "sha256": want, "matches": got == want}); err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the snapshot has checksum %s: one of the two files is damaged", got)
	}
	return nil
}

// inspectLock shows whose lock a data directory has or had.
func (a *app) inspectLock(path string, out io.Writer) error {
	const bytesMax = 64
	data, err := sys.ReadFile(a.fs, path, bytesMax)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 0 {
		return errors.New("a lock holds the number of a process, this file does not")
	}
	return writeLine(out, map[string]any{"kind": "lock", "pid": pid})
}

// inspectCookie checks a cookie and keeps it to itself.
func (a *app) inspectCookie(path string, out io.Writer) error {
	data, err := sys.ReadFile(a.fs, path, config.PasswordBytesMax)
	if err != nil {
		return err
	}
	if _, err := config.CheckCookie(data); err != nil {
		return err
	}
	return writeLine(out, map[string]any{"kind": "cookie", "bytes": len(data), "valid": true})
}

// inspectRoom verifies that a file that keeps disk space holds nothing but zeros.
func (a *app) inspectRoom(path string, out io.Writer) error {
	f, err := a.fs.OpenFile(path, 0, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var size int64
	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		for i, c := range buf[:n] {
			if c != 0 {
				return fmt.Errorf("it keeps room for the log and holds zeros only, but at offset %d there is %#02x", size+int64(i), c)
			}
		}
		size += int64(n)
		if errors.Is(err, io.EOF) {
			return writeLine(out, map[string]any{"kind": "room", "bytes": size})
		}
		if err != nil {
			return err
		}
	}
}
