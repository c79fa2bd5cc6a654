package cli

import (
	"bytes"
	"os"
	"testing"

	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/sys/fault"
)

// FuzzInspect lets inspect read foreign files under every kind of name.
func FuzzInspect(f *testing.F) {
	names := []string{"x", "00000000000000000005.snap", "00000000000000000005.snap.sha256", "r0000000000000001.rlog",
		"00000000000000000005.catalog", "audit.log", "lock", ".cookie", "config/1/VERSION", "config/CURRENT", "reserve"}
	for n, head := range []string{"", "SNAP\n0.13\nVersion: 2.6.0\n\n", "1 sha256 00\n", "LYCRLOG\x00\x01", "lycosa-c", `{"seq":1,"hash":"00"}`,
		"12\n", "secret-secret-secret", "number: 1\n", "1\n", "\x00\x00", "lycosa identity 1 00000000\n{}\n", "XLOG\n0.13\n\n\xd5\xba\x0b\xab"} {
		f.Add([]byte(head), uint8(n))
	}
	f.Fuzz(func(t *testing.T, content []byte, name uint8) {
		fsys := fault.New()
		path := "/d/" + names[int(name)%len(names)]
		for _, dir := range []string{"/d", "/d/config", "/d/config/1"} {
			if err := fsys.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		file, err := fsys.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(content); err != nil {
			t.Fatal(err)
		}
		// Readers of large files have buffers and a decompressor; no length in a file may ask for more.
		meter.CheckBound(t, len(content), uint64(48<<20+1024*len(content)), func() {
			var out bytes.Buffer
			a := &app{Options: Options{Stdout: &out, Stderr: &out}, fs: fsys}
			_ = a.inspect(path)
		})
	})
}
