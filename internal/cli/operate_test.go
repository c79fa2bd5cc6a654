package cli

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/msgpack"
	"github.com/lycosadb/lycosa/internal/rpc/wire"
)

// TestPriority: the order of replicas is written into the row of the replicaset.
func TestPriority(t *testing.T) {
	for _, c := range []struct {
		args  []string
		names string // asked for, as JSON; empty: nothing is asked
		found bool   // the replicaset
		code  int
		says  string
	}{
		{args: []string{"priority", "r1", "i3", "i2"}, names: `["i3","i2"]`, found: true, says: "r1 is rather led by i3, then i2"},
		{args: []string{"priority", "r1", "i3", "--json"}, names: `["i3"]`, found: true, says: `"r1"`},
		{args: []string{"priority", "r1", "--clear"}, names: `[]`, found: true, says: "any replica of r1 may lead it"},
		{args: []string{"priority", "r1", "i3"}, names: `["i3"]`, code: 1, says: "No replicaset named r1"},
		{args: []string{"priority", "r1"}, code: 2, says: "--clear"},
		{args: []string{"priority", "r1", "i3", "--clear"}, code: 2, says: "--clear and none"},
		{args: []string{"priority"}, code: 2, says: "give a replicaset"},
	} {
		asked := ""
		address := serveCalls(t, func(r *iproto.Request) []byte {
			if r.Type == iproto.TypeUpdate {
				key, _ := msgpack.ToJSON(nil, r.Key)
				ops, _ := msgpack.ToJSON(nil, r.Ops)
				asked = fmt.Sprint(r.SpaceID, " ", string(key), " ", string(ops))
			}
			if !c.found {
				return iproto.AppendData(nil, r.Sync, 80)
			}
			return iproto.AppendData(nil, r.Sync, 80, msgpack.AppendStr(msgpack.AppendArrayHeader(nil, 1), "r1"))
		})
		var out, errs output
		code := Main(Options{Args: c.args, Environ: []string{"LYCOSA_PEER=" + address}, Stdout: &out, Stderr: &errs})
		if said := out.String() + errs.String(); code != c.code || !strings.Contains(said, c.says) {
			t.Errorf("%v: code %d, want %d and %q:\n%s", c.args, code, c.code, c.says, said)
		}
		want := ""
		if c.names != "" {
			want = `417 ["r1"] [["=",15,` + c.names + `]]`
		}
		if asked != want {
			t.Errorf("%v asks for %s, want %s", c.args, asked, want)
		}
	}
}

// TestOperatorsCommands: what goes over the wire, what is typed before, and what is told after.
func TestOperatorsCommands(t *testing.T) {
	const peer = "10.0.0.3:3301"
	for _, c := range []struct {
		args  []string
		typed string
		// procedure and message are what the server shall get; empty: it is not asked.
		procedure string
		message   []byte
		answer    []byte
		refuse    *errcode.Error
		code      int
		says      string
	}{
		{args: []string{"expel", "i3"}, procedure: ".proc_expel", message: wire.Expel{Name: "i3"}.Append(nil), answer: msgpack.AppendNil(nil), says: "i3 is being expelled"},
		{args: []string{"expel", "i3", "--force"}, typed: "i3\n", procedure: ".proc_expel", message: wire.Expel{Name: "i3", Force: true}.Append(nil),
			answer: msgpack.AppendStr(nil, "i3 was told"), says: "i3 was told\n"},
		{args: []string{"expel", "i3", "--force"}, typed: "i2\n", code: 1, says: "i3 was not typed, nothing was done"},
		{args: []string{"expel", "i3", "--force"}, code: 1, says: "not confirmed"},
		{args: []string{"expel", "i3"}, procedure: ".proc_expel", message: wire.Expel{Name: "i3"}.Append(nil),
			refuse: errcode.New(errcode.NoSuchInstance, "i3"), code: 1, says: "No instance named i3\nCheck the name"},
		{args: []string{"expel"}, code: 2, says: "give one name"},
		{args: []string{"replace", "i3"}, procedure: ".proc_replace", message: wire.Replace{Name: "i3"}.Append(nil), answer: msgpack.AppendNil(nil),
			says: "start it on an empty directory with --instance-name i3"},
		{args: []string{"promote", "i2"}, procedure: ".proc_promote", message: wire.Promote{Name: "i2"}.Append(nil), answer: msgpack.AppendNil(nil), says: "i2 is the leader"},
		{args: []string{"promote", "i2", "--json"}, procedure: ".proc_promote", message: wire.Promote{Name: "i2"}.Append(nil), answer: msgpack.AppendNil(nil), says: "null\n"},
		{args: []string{"promote", "i2"}, procedure: ".proc_promote", message: wire.Promote{Name: "i2"}.Append(nil),
			refuse: errcode.New(errcode.NoSuchProc, ".proc_promote"), code: 1, says: "cannot do this"},
		{args: []string{"abort-ddl", "7"}, procedure: ".proc_abort_ddl", message: wire.AbortDDL{Version: 7}.Append(nil), answer: msgpack.AppendNil(nil), says: "change 7 of the schema is taken back"},
		{args: []string{"abort-ddl", "7"}, procedure: ".proc_abort_ddl", message: wire.AbortDDL{Version: 7}.Append(nil),
			refuse: errcode.New(errcode.SchemaCommitted, 7), code: 1, says: "can not be taken back any more\nRead the schema"},
		{args: []string{"abort-ddl"}, code: 2, says: "give the version"},
		{args: []string{"abort-ddl", "seven"}, code: 2, says: "not the version"},
		{args: []string{"bootstrap"}, code: 2, says: "--without HOST:PORT"},
		{args: []string{"bootstrap", "--without", "nonsense"}, code: 2, says: "host:port"},
		{args: []string{"bootstrap", "--without", peer}, typed: "yes\n", code: 1, says: "nothing was done"},
		{args: []string{"bootstrap", "--without", peer}, typed: peer, procedure: ".proc_bootstrap_without", message: wire.BootstrapWithout{Peer: peer}.Append(nil),
			answer: msgpack.AppendNil(nil), says: "goes on without " + peer},
	} {
		asked, arguments := "", []byte(nil)
		address := serveCalls(t, func(r *iproto.Request) []byte {
			asked, arguments = string(r.Function), slices.Clone(r.Tuple)
			if c.refuse != nil {
				return iproto.AppendError(nil, r.Sync, 80, c.refuse)
			}
			return iproto.AppendData(nil, r.Sync, 80, c.answer)
		})
		var out, errs output
		code := Main(Options{Args: c.args, Environ: []string{"LYCOSA_PEER=" + address}, Stdin: strings.NewReader(c.typed), Stdout: &out, Stderr: &errs})
		if said := out.String() + errs.String(); code != c.code || !strings.Contains(said, c.says) {
			t.Errorf("%v: code %d, want %d and %q:\n%s", c.args, code, c.code, c.says, said)
		}
		if asked != c.procedure {
			t.Errorf("%v asks %q, want %q", c.args, asked, c.procedure)
		}
		if c.procedure == "" {
			continue
		}
		if message, err := wire.Argument(arguments); err != nil || string(message) != string(c.message) {
			t.Errorf("%v sends % x (%v), want % x", c.args, message, err, c.message)
		}
	}
}
