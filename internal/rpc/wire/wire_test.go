package wire

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/catalog"
	"github.com/lycosadb/lycosa/internal/discovery"
	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/raftgroup"
)

var header = Header{
	ClusterUUID: "c0ffee", Epoch: 3, From: "i-uuid", RaftID: 7, Term: 1 << 40, Applied: 123456, Address: "127.0.0.1:3301",
	Incarnation: 9, Quota: 1 << 33, Used: 5,
}

// message is one kind of message: an example, and how it is written and read.
type message struct {
	name   string
	value  any
	append func(dst []byte) []byte
	decode func(b []byte) (any, error)
}

func decoder[T any](f func([]byte) (T, error)) func([]byte) (any, error) {
	return func(b []byte) (any, error) { return f(b) }
}

var cas = CAS{
	Header: header, Initiator: 32, ID: catalog.RequestID{1, 2, 3},
	Ops: []catalog.Op{
		{Kind: catalog.Dml, DML: []catalog.DML{
			{Kind: catalog.Replace, Table: catalog.TableProperty, Tuple: []byte{0x92, 0xa1, 'k', 1}}}},
		{Kind: catalog.Nop},
	},
	Predicate: &catalog.Predicate{Index: 9, Term: 2, Ranges: []catalog.Range{
		catalog.Eq(catalog.TableInstance, catalog.Key("i1")),
		{Table: catalog.TableTier, Min: catalog.Bound{Key: catalog.Key("a"), Excluded: true}},
	}},
}

func messages() []message {
	interact := Interact{
		Header: header,
		Report: &Report{Applied: 5, State: lifecycle.RolesConfigured, Sharding: true, Data: GroupReport{
			RaftID: 2, Role: raftgroup.RoleLeader, Term: 4, Leader: 2, Committed: 10, Applied: 9, Last: 11,
			Voters: []uint64{2, 300, 1 << 63}, Learners: []uint64{5}, Joint: true, Unsure: true,
			Progress: []MemberProgress{{RaftID: 300, Match: 8, Active: true}, {RaftID: 5}},
		}, Schema: SchemaReport{Version: 9, Code: 3, Message: "Duplicate key"}},
		Messages: []GroupMessage{{Group: GroupCatalog, Data: []byte("raft")}, {Group: GroupData, Data: []byte{}}},
	}
	bare := Interact{Header: Header{ClusterUUID: "c"}}
	unguarded := CAS{Header: header, Ops: []catalog.Op{{Kind: catalog.Nop}}}
	readIndex := ReadIndex{Header: header, Group: GroupData}
	change := GroupChange{Header: header, CatalogIndex: 77, Term: 6, Voters: []uint64{2, 4}, Changes: []raftgroup.Change{
		{Op: raftgroup.AddLearner, ID: 4}, {Op: raftgroup.Remove, ID: 5}, {Op: raftgroup.AddVoter, ID: 1 << 50}}}
	proxied := Proxy{Header: header, Statements: []ProxyStatement{{User: 31, Type: 2, Space: 600, Index: 1, IndexBase: 1, Schema: 9}, {Type: 4}}}
	carried := ProxyAnswer{Index: 1 << 40, Replies: []ProxyReply{{Body: []byte{0x80}}, {Code: 1 << 15, Body: []byte{0x81, 1, 2}}}}
	transfer := Transfer{Header: header, Group: GroupCatalog, To: 12, Term: 7}
	chunk := SnapshotChunk{Header: header, Group: GroupData, Index: 1000, Term: 4, Offset: 1 << 33, Max: SnapshotPartBytesMax}
	part := SnapshotPart{Total: 1 << 34, Data: []byte("rows")}
	request := discovery.Request{ClusterName: "demo", Round: 9, ID: "id", CanBoot: true, Peers: []string{"a:1", "b:2"}}
	answer := discovery.Answer{Kind: discovery.AnswerResp, ClusterName: "demo", Round: 9, ID: "x", CanBoot: true,
		Peers: []string{"a:1"}}
	member := discovery.Answer{Kind: discovery.AnswerFinished, ClusterName: "demo", Leader: "a:1", ClusterUUID: "u"}
	join := catalog.JoinRequest{ClusterName: "demo", InstanceUUID: "u", InstanceName: "i2", Replicaset: "r1", Tier: "default",
		FailureDomain: map[string]string{"DC": "1", "RACK": "7"}, Version: "0.4.0", Address: "h:1", HTTPAddress: "h:2"}
	joined := catalog.JoinAnswer{InstanceName: "i2", InstanceUUID: "u", ReplicasetName: "r1", ReplicasetUUID: "ru",
		Tier: "default", ClusterUUID: "cu", ClusterName: "demo", Epoch: 1, RaftID: 3, DataRaftID: 4, BootstrapRaftID: 2,
		Leader: "h:1", Snapshot: []byte("snapshot")}
	greeted := HelloAnswer{Header: header, Known: map[uint64]string{7: "h:7"}}
	result := catalog.Result{Index: 1 << 40, Rows: 2, UserID: 33}
	encodeCAS := func(m CAS) func([]byte) []byte {
		return func(dst []byte) []byte {
			b, err := m.Append(dst)
			if err != nil {
				panic(err)
			}
			return b
		}
	}
	return []message{
		{"Interact", interact, interact.Append, decoder(DecodeInteract)},
		{"Interact, bare", bare, bare.Append, decoder(DecodeInteract)},
		{"CAS", cas, encodeCAS(cas), decoder(DecodeCAS)},
		{"CAS without predicate", unguarded, encodeCAS(unguarded), decoder(DecodeCAS)},
		{"Hello", header, header.Append, decoder(DecodeHeader)},
		{"answer to Hello", greeted, greeted.Append, decoder(DecodeHelloAnswer)},
		{"ReadIndex", readIndex, readIndex.Append, decoder(DecodeReadIndex)},
		{"GroupChange", change, change.Append, decoder(DecodeGroupChange)},
		{"Proxy", proxied, proxied.Append, decoder(DecodeProxy)},
		{"answer to Proxy", carried, carried.Append, decoder(DecodeProxyAnswer)},
		{"Transfer", transfer, transfer.Append, decoder(DecodeTransfer)},
		{"SnapshotChunk", chunk, chunk.Append, decoder(DecodeSnapshotChunk)},
		{"Expel", Expel{Name: "i3", Force: true}, Expel{Name: "i3", Force: true}.Append, decoder(DecodeExpel)},
		{"Replace", Replace{Header: header, Name: "i3"}, Replace{Header: header, Name: "i3"}.Append, decoder(DecodeReplace)},
		{"Promote", Promote{Header: header, Name: "i3"}, Promote{Header: header, Name: "i3"}.Append, decoder(DecodePromote)},
		{"AbortDDL", AbortDDL{Version: 7}, AbortDDL{Version: 7}.Append, decoder(DecodeAbortDDL)},
		{"BootstrapWithout", BootstrapWithout{Peer: "h:3"}, BootstrapWithout{Peer: "h:3"}.Append, decoder(DecodeBootstrapWithout)},
		{"SnapshotPart", part, part.Append, decoder(DecodeSnapshotPart)},
		{"Discover", request, func(b []byte) []byte { return AppendDiscover(b, request) }, decoder(DecodeDiscover)},
		{"answer to Discover", answer, func(b []byte) []byte { return AppendDiscoverAnswer(b, answer) }, decoder(DecodeDiscoverAnswer)},
		{"answer of a member", member, func(b []byte) []byte { return AppendDiscoverAnswer(b, member) }, decoder(DecodeDiscoverAnswer)},
		{"Join", join, func(b []byte) []byte { return AppendJoin(b, join) }, decoder(DecodeJoin)},
		{"Join, bare", catalog.JoinRequest{}, func(b []byte) []byte { return AppendJoin(b, catalog.JoinRequest{}) }, decoder(DecodeJoin)},
		{"answer to Join", joined, func(b []byte) []byte { return AppendJoinAnswer(b, joined) }, decoder(DecodeJoinAnswer)},
		{"answer to CAS", result, func(b []byte) []byte { return AppendResult(b, result) }, decoder(DecodeResult)},
		{"answer to ReadIndex", uint64(1 << 35), func(b []byte) []byte { return AppendIndex(b, 1<<35) }, decoder(DecodeIndex)},
	}
}

func TestRoundTrip(t *testing.T) {
	for _, m := range messages() {
		b := m.append([]byte("before"))
		b, ok := bytes.CutPrefix(b, []byte("before"))
		if !ok || msgpack.Check(b) != nil {
			t.Fatalf("%s: no MessagePack value behind what was there: % x", m.name, b)
		}
		if got, err := m.decode(b); err != nil || !reflect.DeepEqual(got, m.value) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", m.name, err, got, m.value)
		}
	}
}

// TestCutOff: no message reads without its last byte, and every refusal has a number.
func TestCutOff(t *testing.T) {
	for _, m := range messages() {
		b := m.append(nil)
		for n := range b {
			if _, err := m.decode(b[:n:n]); !errcode.Is(err, errcode.IllegalParams) {
				t.Fatalf("%s: error %v for %d of %d bytes", m.name, err, n, len(b))
			}
		}
		if _, err := m.decode(append(b, 1)); !errcode.Is(err, errcode.IllegalParams) {
			t.Errorf("%s: error %v for a byte too many", m.name, err)
		}
	}
}

// longer is b with one more element at the end of the array that begins at an offset.
func longer(t *testing.T, b []byte, at int) []byte {
	t.Helper()
	n, body, err := msgpack.ReadArrayLen(b[at:])
	if err != nil {
		t.Fatal(err)
	}
	end := body
	for range n {
		if end, err = msgpack.Skip(end); err != nil {
			t.Fatal(err)
		}
	}
	out := msgpack.AppendArrayHeader(slices.Clone(b[:at]), n+1)
	out = append(out, body[:len(body)-len(end)]...)
	return append(append(out, 0x81, 0xa1, 'x', 0xc0), end...)
}

// arrays returns where the arrays in a value begin.
func arrays(t *testing.T, b []byte) (all []int) {
	t.Helper()
	for rest := b; len(rest) > 0; {
		if _, body, err := msgpack.ReadArrayLen(rest); err == nil {
			all = append(all, len(b)-len(rest))
			rest = body
			continue
		}
		if _, body, err := msgpack.ReadMapLen(rest); err == nil {
			rest = body
			continue
		}
		var err error
		if rest, err = msgpack.Skip(rest); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestNewerVersion: fields that a newer version added are passed over, in whatever structure they are. What is no list of
// a message is a structure.
func TestNewerVersion(t *testing.T) {
	lists := map[string]int{"Interact": 4, "Interact, bare": 1, "CAS": 1, "GroupChange": 2, "Discover": 1,
		"answer to Discover": 1, "answer of a member": 1, "Proxy": 1, "answer to Proxy": 1}
	for _, m := range messages() {
		b, refused := m.append(nil), 0
		for _, at := range arrays(t, b) {
			switch got, err := m.decode(longer(t, b, at)); {
			case errcode.Is(err, errcode.IllegalParams):
				refused++
			case err != nil || !reflect.DeepEqual(got, m.value):
				t.Errorf("%s, array at %d: %v\ngot  %+v\nwant %+v", m.name, at, err, got, m.value)
			}
		}
		if refused != lists[m.name] {
			t.Errorf("%s: a map at the end of %d arrays is an error, %d are lists", m.name, refused, lists[m.name])
		}
	}
}

// TestNewerState: a state that is not known is no reason to lose raft messages.
func TestNewerState(t *testing.T) {
	b := Interact{Report: &Report{State: lifecycle.RolesConfigured}}.Append(nil)
	at := bytes.Index(b, []byte("RolesConfigured"))
	got, err := DecodeInteract(bytes.Replace(b, b[at:at+15], []byte("RolesHibernated"), 1))
	if err != nil || got.Report.State != lifecycle.Start {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestLimits(t *testing.T) {
	for _, all := range []map[string]func() error{overGroups(), overCatalog()} {
		for name, f := range all {
			if err := f(); !errcode.Is(err, errcode.IllegalParams) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	}
	many := make([]catalog.Op, catalog.OpsMax+1)
	if _, err := (CAS{Ops: many}).Append(nil); !errcode.Is(err, errcode.TooBig) {
		t.Errorf("too many operations: error %v", err)
	}
}

// overGroups reads messages about raft groups that are over a limit.
func overGroups() map[string]func() error {
	long := strings.Repeat("x", WordBytesMax+1)
	return map[string]func() error{
		"long word": func() error {
			_, err := DecodeReadIndex(ReadIndex{Header: Header{From: long}, Group: GroupData}.Append(nil))
			return err
		},
		"unknown group": func() error { _, err := DecodeReadIndex(ReadIndex{Group: 3}.Append(nil)); return err },
		"group beyond a byte": func() error {
			b := ReadIndex{Group: GroupData}.Append(nil)
			_, err := DecodeReadIndex(msgpack.AppendUint(b[:len(b)-1], 256+uint64(GroupData)))
			return err
		},
		"messages": func() error {
			_, err := DecodeInteract(Interact{Messages: make([]GroupMessage, MessagesMax+1)}.Append(nil))
			return err
		},
		"changes": func() error {
			_, err := DecodeGroupChange(GroupChange{Changes: make([]raftgroup.Change, ChangesMax+1)}.Append(nil))
			return err
		},
		"unknown change": func() error {
			_, err := DecodeGroupChange(GroupChange{Changes: []raftgroup.Change{{Op: 3, ID: 1}}}.Append(nil))
			return err
		},
		"voters": func() error {
			_, err := DecodeInteract(Interact{Report: &Report{Data: GroupReport{Voters: make([]uint64, MembersMax+1)}}}.Append(nil))
			return err
		},
		"part of a snapshot": func() error {
			_, err := DecodeSnapshotChunk(SnapshotChunk{Group: GroupData, Max: SnapshotPartBytesMax + 1}.Append(nil))
			return err
		},
		"answered part of a snapshot": func() error {
			_, err := DecodeSnapshotPart(SnapshotPart{Data: make([]byte, SnapshotPartBytesMax+1)}.Append(nil))
			return err
		},
		"progress": func() error {
			r := &Report{Data: GroupReport{Progress: make([]MemberProgress, MembersMax+1)}}
			_, err := DecodeInteract(Interact{Report: r}.Append(nil))
			return err
		},
	}
}

// overCatalog reads messages about the catalog and its members that are over a limit.
func overCatalog() map[string]func() error {
	return map[string]func() error{
		"domains": func() error {
			d := map[string]string{}
			for i := range DomainsMax + 1 {
				d[strings.Repeat("x", i)] = ""
			}
			_, err := DecodeJoin(AppendJoin(nil, catalog.JoinRequest{FailureDomain: d}))
			return err
		},
		"two requests in one": func() error {
			entry, err := catalog.EncodeEntry(catalog.Entry{Items: make([]catalog.Item, 2)})
			if err == nil {
				b := header.append(msgpack.AppendArrayHeader(nil, casFields))
				_, err = DecodeCAS(msgpack.AppendNil(msgpack.AppendBin(b, entry)))
			}
			return err
		},
		"ranges": func() error {
			b, err := CAS{Predicate: &catalog.Predicate{Ranges: make([]catalog.Range, RangesMax+1)}}.Append(nil)
			if err == nil {
				_, err = DecodeCAS(b)
			}
			return err
		},
		"peers": func() error {
			_, err := DecodeDiscover(AppendDiscover(nil, discovery.Request{Peers: make([]string, discovery.PeersMax+1)}))
			return err
		},
		"key given twice": func() error {
			b := AppendJoin(nil, catalog.JoinRequest{FailureDomain: map[string]string{"K": "1", "L": "2"}})
			_, err := DecodeJoin(bytes.Replace(b, []byte{0xa1, 'L'}, []byte{0xa1, 'K'}, 1))
			return err
		},
	}
}

func TestHeaderCheck(t *testing.T) {
	for _, c := range []struct {
		uuid  string
		epoch uint64
		own   string
		at    uint64
		want  errcode.Code
	}{
		{"a", 1, "a", 1, 0},
		{"a", 1, "b", 1, errcode.ClusterUUIDMismatch},
		{"", 1, "b", 1, errcode.ClusterUUIDMismatch},
		{"a", 1, "a", 2, errcode.EpochMismatch},
		{"a", 3, "a", 2, errcode.EpochOver},
		{"a", 1, "", 0, errcode.Uninitialized},
		{"", 0, "", 0, errcode.Uninitialized},
	} {
		err := Header{ClusterUUID: c.uuid, Epoch: c.epoch}.Check(c.own, c.at)
		if c.want == 0 && err != nil || c.want != 0 && !errcode.Is(err, c.want) {
			t.Errorf("%+v: error %v", c, err)
		}
	}
}

func TestArguments(t *testing.T) {
	args := AppendArguments([]byte("b"), []byte{0x91, 5})[1:]
	if m, err := Argument(args); err != nil || !bytes.Equal(m, []byte{0x91, 5}) {
		t.Errorf("% x, %v", m, err)
	}
	for _, bad := range [][]byte{nil, {0x90}, {0x92, 1, 2}, {0x91}, {0x91, 1, 2}, {0xdd, 0xff, 0xff, 0xff, 0xff}, {5}} {
		if _, err := Argument(bad); !errcode.Is(err, errcode.IllegalParams) {
			t.Errorf("arguments % x: error %v", bad, err)
		}
	}
	for in, want := range map[string]string{"": "", "\x90": "", "\x91\x05": "\x05", "\x92\x91\x07\x06": "\x91\x07", "\x91\xc0": "\xc0"} {
		if got, err := Answer([]byte(in)); err != nil || string(got) != want {
			t.Errorf("answer % x: % x, %v", in, got, err)
		}
	}
	for _, bad := range [][]byte{{0x91}, {0xc0}, {0x91, 0xa5, 'x'}} {
		if _, err := Answer(bad); !errcode.Is(err, errcode.IllegalParams) {
			t.Errorf("answer % x: error %v", bad, err)
		}
	}
}

// FuzzDecode gives foreign bytes to every decoder. What one takes, its encoder can write, and reads again as the same.
func FuzzDecode(f *testing.F) {
	all := messages()
	for _, m := range all {
		f.Add(m.append(nil))
	}
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range all {
			meter.Check(t, len(b), 256, func() { _, _ = m.decode(b) })
		}
		meter.Check(t, len(b), 16, func() { _, _ = Argument(b); _, _ = Answer(b) })
		again(t, b)
	})
}

// again reads, writes and reads once more the messages with the most structure.
func again(t *testing.T, b []byte) {
	if m, err := DecodeInteract(b); err == nil {
		if n, err := DecodeInteract(m.Append(nil)); err != nil || !reflect.DeepEqual(m, n) {
			t.Errorf("Interact %+v becomes %+v, %v", m, n, err)
		}
	}
	if m, err := DecodeCAS(b); err == nil {
		c, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := DecodeCAS(c); err != nil || !reflect.DeepEqual(m, n) {
			t.Errorf("CAS %+v becomes %+v, %v", m, n, err)
		}
	}
	if m, err := DecodeJoin(b); err == nil {
		if n, err := DecodeJoin(AppendJoin(nil, m)); err != nil || !reflect.DeepEqual(m, n) {
			t.Errorf("Join %+v becomes %+v, %v", m, n, err)
		}
	}
}

// TestProxiedParts: keys, tuples and operations travel as they are; what is no array is refused.
func TestProxiedParts(t *testing.T) {
	key, tuple, ops := []byte{0x91, 7}, []byte{0x92, 7, 0x91, 0xc0}, []byte{0x90}
	want := Proxy{Header: header, Statements: []ProxyStatement{{Key: key, Ops: ops}, {Tuple: tuple}}}
	if got, err := DecodeProxy(want.Append(nil)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
	for _, bad := range [][]byte{{7}, {0x81, 1, 2}, {0xc1}, {0x92, 7}} {
		m := Proxy{Statements: []ProxyStatement{{Tuple: bad}}}
		if _, err := DecodeProxy(m.Append(nil)); !errcode.Is(err, errcode.IllegalParams) {
			t.Errorf("tuple % x: %v", bad, err)
		}
	}
}

// TestHelloOfBefore: who answers with a header alone, as older versions do, knows nobody; who asks one that is newer passes over what
// he does not know.
func TestHelloOfBefore(t *testing.T) {
	if a, err := DecodeHelloAnswer(header.Append(nil)); err != nil || a.Header != header || a.Known != nil {
		t.Errorf("%+v, %v", a, err)
	}
	if h, err := DecodeHeader(HelloAnswer{Header: header, Known: map[uint64]string{7: "h:7"}}.Append(nil)); err != nil || h != header {
		t.Errorf("%+v, %v", h, err)
	}
}
