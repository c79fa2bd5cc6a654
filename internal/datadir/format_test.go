package datadir

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/meter"
)

func testEntrypoint() Entrypoint {
	return Entrypoint{Kind: EntryBoot, InstanceUUID: uuidA, ClusterUUID: uuidB, ReplicasetUUID: uuidA, Peers: []string{"h:1"},
		History: []lifecycle.Record{{To: lifecycle.Unconfigured, At: time.Unix(1, 2).UTC(), Stage: lifecycle.Discover, PID: 9}}}
}

func TestFilesSurvive(t *testing.T) {
	id, err := EncodeIdentity(testIdentity())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeIdentity(id); err != nil || got != testIdentity() {
		t.Errorf("identity %+v, error %v", got, err)
	}
	if !strings.HasPrefix(string(id), "lycosa identity 1 crc32c ") {
		t.Errorf("an identity file begins with %.30q, want kind and format version", id)
	}
	e, err := EncodeEntrypoint(testEntrypoint())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeEntrypoint(e); err != nil || !reflect.DeepEqual(got, testEntrypoint()) {
		t.Errorf("entrypoint %+v, error %v", got, err)
	}
	record := DiscoveryRecord{ID: "a", Peers: []string{"h:1"}, Decision: "boot"}
	d, err := EncodeDiscovery(record)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeDiscovery(d); err != nil || !reflect.DeepEqual(got, record) {
		t.Errorf("discovery %+v, error %v", got, err)
	}
	if _, err := DecodeEntrypoint(id); err == nil {
		t.Error("an identity was read as an entrypoint")
	}
}

// TestEveryDamageIsSeen flips each bit and cuts at each length.
func TestEveryDamageIsSeen(t *testing.T) {
	whole, err := EncodeIdentity(testIdentity())
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		for bit := range 8 {
			bad := append([]byte(nil), whole...)
			bad[i] ^= 1 << bit
			if _, err := DecodeIdentity(bad); err == nil {
				t.Fatalf("byte %d with bit %d flipped is read", i, bit)
			}
		}
		if _, err := DecodeIdentity(whole[:i]); err == nil {
			t.Fatalf("%d of %d bytes are read", i, len(whole))
		}
	}
	if _, err := DecodeIdentity(append(whole, ' ')); err == nil {
		t.Error("a longer file is read")
	}
}

func TestNewerFormatIsNamed(t *testing.T) {
	body := []byte("{}")
	data := header(IdentityFile, formatVersion+1, body) + string(body)
	if _, err := DecodeIdentity([]byte(data)); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("error %v, want %v", err, ErrNewerFormat)
	}
}

func TestIncompleteRecordsAreNotWritten(t *testing.T) {
	for name, change := range map[string]func(*Identity){
		"cluster uuid":  func(id *Identity) { id.ClusterUUID = "x" },
		"instance uuid": func(id *Identity) { id.InstanceUUID = "" },
		"raft id":       func(id *Identity) { id.DataRaftID = 0 },
		"instance name": func(id *Identity) { id.InstanceName = "" },
		"tier":          func(id *Identity) { id.Tier = "" },
	} {
		id := testIdentity()
		change(&id)
		if _, err := EncodeIdentity(id); err == nil {
			t.Errorf("an identity without %s was written", name)
		}
	}
	for _, e := range []Entrypoint{
		{Kind: EntryBoot, InstanceUUID: uuidA}, {Kind: EntryJoin, InstanceUUID: uuidA}, {Kind: EntryJoin, Leader: "h:1"},
		{Kind: EntryReplace, InstanceUUID: uuidA, RaftID: 1}, {Kind: "dance", InstanceUUID: uuidA},
	} {
		if _, err := EncodeEntrypoint(e); err == nil {
			t.Errorf("entrypoint %+v was written", e)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, encode := range []func() ([]byte, error){
		func() ([]byte, error) { return EncodeIdentity(testIdentity()) },
		func() ([]byte, error) { return EncodeEntrypoint(testEntrypoint()) },
		func() ([]byte, error) { return EncodeDiscovery(DiscoveryRecord{ID: "a"}) },
	} {
		data, err := encode()
		if err != nil {
			f.Fatal(err)
		}
		_, body, _ := strings.Cut(string(data), "\n")
		f.Add(data, []byte(body))
	}
	f.Fuzz(func(t *testing.T, data, body []byte) {
		meter.Check(t, len(data)+len(body), 64, func() {
			_, _ = DecodeDiscovery(data)
			_, _ = DecodeIdentity(append([]byte(header(IdentityFile, formatVersion, body)), body...))
			_, _ = DecodeEntrypoint(append([]byte(header(EntrypointFile, formatVersion, body)), body...))
		})
		// With a valid first line, so that what is behind the checksum is reached.
		for _, kind := range []string{IdentityFile, EntrypointFile} {
			whole := append([]byte(header(kind, formatVersion, body)), body...)
			if id, err := DecodeIdentity(whole); err == nil && id.Check() != nil {
				t.Fatalf("an incomplete identity was read: %+v", id)
			}
			if e, err := DecodeEntrypoint(whole); err == nil && e.Check() != nil {
				t.Fatalf("an incomplete entrypoint was read: %+v", e)
			}
		}
	})
}
