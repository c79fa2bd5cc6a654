package access

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lycosadb/lycosa/internal/meter"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

func TestPrivNames(t *testing.T) {
	for bit, name := range map[Priv]string{
		1: "read", 2: "write", 4: "execute", 8: "session", 16: "usage", 32: "create", 64: "drop", 128: "alter",
		256: "reference", 512: "trigger", 1024: "insert", 2048: "update", 4096: "delete", 8192: "grant",
	} {
		if bit.String() != name || !strings.EqualFold(bit.Title(), name) || bit.Title() == name {
			t.Errorf("bit %d is %q, %q", uint32(bit), bit, bit.Title())
		}
		if p, err := ParsePriv(name); p != bit || err != nil {
			t.Errorf("%s is %d, %v", name, uint32(p), err)
		}
	}
	if p, err := ParsePriv("read, Write,execute"); p != Read|Write|Execute || err != nil {
		t.Errorf("list is %d, %v", uint32(p), err)
	}
	if p, err := ParsePriv("all"); p != All || err != nil {
		t.Errorf("all is %d, %v", uint32(p), err)
	}
	for _, bad := range []string{"", "read,", "reed", "read write"} {
		if p, err := ParsePriv(bad); err == nil {
			t.Errorf("%q is %d", bad, uint32(p))
		}
	}
	if got := (Read | Write | 1<<31).String(); got != "read,write" {
		t.Errorf("got %q", got)
	}
	if Priv(0).String() != "" || Priv(0).Title() != "" {
		t.Error("the empty set has a name")
	}
}

func TestObjectTypes(t *testing.T) {
	for i, name := range []string{"universe", "space", "function", "sequence", "role", "user"} {
		if got, ok := ParseObjectType(name); !ok || got != ObjectType(i) || got.String() != name {
			t.Errorf("%s is %v, %t", name, got, ok)
		}
	}
	if _, ok := ParseObjectType("lua_eval"); ok {
		t.Error("lua_eval is known")
	}
}

// TestScript runs testdata/rights.txt: lines "user", "role", "grant" make the rows, "check" lines are answered.
func TestScript(t *testing.T) {
	text, err := os.ReadFile("testdata/rights.txt")
	if err != nil {
		t.Fatal(err)
	}
	var accounts []Account
	var grants []GrantRow
	var rights *Rights
	ids := map[string]uint32{}
	id := func(word string) uint32 {
		if n, err := strconv.ParseUint(word, 10, 32); err == nil {
			return uint32(n)
		}
		n, ok := ids[word]
		if !ok {
			t.Fatalf("nobody is called %q", word)
		}
		return n
	}
	checks := 0
	for n, line := range strings.Split(string(text), "\n") {
		w := strings.Fields(line)
		if len(w) == 0 || w[0] == "#" {
			continue
		}
		switch w[0] {
		case "user", "role":
			ids[w[1]] = id(w[2])
			accounts = append(accounts, Account{ID: id(w[2]), Name: w[1], IsRole: w[0] == "role"})
		case "grant": // grant WHO PRIVS TYPE ID|*
			privs, err := ParsePriv(w[2])
			kind, ok := ParseObjectType(w[3])
			if err != nil || !ok {
				t.Fatalf("line %d: %v", n+1, err)
			}
			g := GrantRow{Grantee: id(w[1]), Type: kind, Privs: privs, Entity: w[4] == "*"}
			if !g.Entity {
				g.ID = id(w[4])
			}
			grants, rights = append(grants, g), nil
		case "check": // check WHO PRIVS TYPE ID yes|no
			if rights == nil {
				rights = Build(accounts, grants)
			}
			privs, err := ParsePriv(w[2])
			kind, _ := ParseObjectType(w[3])
			if err != nil {
				t.Fatal(err)
			}
			checks++
			if got := rights.Check(id(w[1]), privs, kind, id(w[4])); got != (w[5] == "yes") {
				t.Errorf("line %d: %s: got %t", n+1, line, got)
			}
		default:
			t.Fatalf("line %d: unknown command %q", n+1, w[0])
		}
	}
	if checks < 30 {
		t.Errorf("only %d checks", checks)
	}
}

// TestSlowModel compares with a definition that is too slow but plain: a user has what is granted to anyone whom it
// reaches by role grants, in as many rounds as there are accounts.
func TestSlowModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.Uint32Range(0, 7)
		var accounts []Account
		for id := range uint32(8) {
			accounts = append(accounts, Account{ID: id, Name: strconv.Itoa(int(id)), IsRole: id >= 3})
		}
		grants := rapid.SliceOf(rapid.Custom(func(t *rapid.T) GrantRow {
			return GrantRow{
				Grantee: small.Draw(t, "grantee"), Type: ObjectType(rapid.IntRange(0, int(objectTypes)-1).Draw(t, "type")),
				ID: small.Draw(t, "id"), Entity: rapid.Bool().Draw(t, "entity"),
				Privs: Priv(rapid.Uint32Range(0, 15).Draw(t, "privs")),
			}
		})).Draw(t, "grants")
		user := small.Draw(t, "user")
		reach := map[uint32]bool{user: true}
		for range accounts {
			for _, g := range grants {
				if reach[g.Grantee] && g.Type == Role && !g.Entity && g.Privs&Execute != 0 && accounts[g.ID].IsRole {
					reach[g.ID] = true
				}
			}
		}
		kind, id := ObjectType(rapid.IntRange(0, int(objectTypes)-1).Draw(t, "kind")), small.Draw(t, "object")
		var want Priv
		for _, g := range grants {
			if reach[g.Grantee] && (g.Type == Universe || g.Type == kind && (g.Entity || g.ID == id)) {
				want |= g.Privs
			}
		}
		r := Build(accounts, grants)
		if got := r.Has(user, kind, id); got != want {
			t.Fatalf("user %d has %q, want %q", user, got, want)
		}
		if len(r.Roles(user)) != len(reach)-1 {
			t.Fatalf("roles %v, reached %v", r.Roles(user), reach)
		}
	})
}

func TestNothingKnown(t *testing.T) {
	for _, r := range []*Rights{nil, {}, Build(nil, nil), Build(nil, []GrantRow{{Grantee: 1, Type: Universe, Privs: All}})} {
		if r.Check(1, Read, Space, 512) || r.Check(1, 0, Space, 512) || r.HasEntity(1, Space) != 0 || r.Roles(1) != nil {
			t.Error("a user who does not exist has rights")
		}
		if _, ok := r.Account(1); ok {
			t.Error("a user who does not exist is found")
		}
		if _, ok := r.AccountByName("x"); ok {
			t.Error("a user who does not exist is found by name")
		}
	}
	r := Build([]Account{{ID: 1}}, []GrantRow{{Grantee: 1, Type: Universe, Privs: All}})
	if r.Check(1, 0, Space, 1) || r.Check(1, Read, objectTypes, 1) {
		t.Error("nothing, or an unknown type of object, was allowed")
	}
}

func row(values ...any) []byte {
	b := msgpack.AppendArrayHeader(nil, len(values))
	for _, v := range values {
		switch v := v.(type) {
		case int:
			b = msgpack.AppendInt(b, int64(v))
		case string:
			b = msgpack.AppendStr(b, v)
		case []byte:
			b = append(b, v...)
		}
	}
	return b
}

func TestParseAccount(t *testing.T) {
	auth := append([]byte{0x82}, msgpack.AppendStr(msgpack.AppendStr(nil, "pap"), "x")...)
	auth = msgpack.AppendStr(msgpack.AppendStr(auth, "chap-sha1"), "vhvewKp0tNyweZQ+cFKAlsyphfg=")
	a, err := ParseAccount(row(32, 1, "test", "user", auth))
	if err != nil || a.ID != 32 || a.Owner != 1 || a.Name != "test" || a.IsRole || !a.HasPassword || a.ChapSHA1[0] != 0xbe {
		t.Errorf("%+v, %v", a, err)
	}
	for _, none := range [][]byte{{0x80}, {0x90}, {0xc0}} {
		if a, err := ParseAccount(row(2, 1, "public", "role", none)); err != nil || !a.IsRole || a.HasPassword {
			t.Errorf("auth %x: %+v, %v", none, a, err)
		}
	}
	if a, err := ParseAccount(row(2, 1, "public", "role")); err != nil || a.HasPassword {
		t.Errorf("without auth: %+v, %v", a, err)
	}
	short := msgpack.AppendStr(msgpack.AppendStr([]byte{0x81}, "chap-sha1"), "AAAA")
	for _, bad := range [][]byte{nil, {0xc0}, row(1, 1, "x"), row("a", 1, "x", "user"), row(1<<33, 1, "x", "user"),
		row(1, 1, 5, "user"), row(1, 1, "x", 5), row(1, 1, "x", "user", 5), row(1, 1, "x", "user", short)} {
		if a, err := ParseAccount(bad); err == nil {
			t.Errorf("%x was read as %+v", bad, a)
		}
	}
}

func TestParseGrant(t *testing.T) {
	for _, c := range []struct {
		row  []byte
		want GrantRow
		ok   bool
	}{
		{row(1, 32, "space", 512, 3), GrantRow{1, 32, Space, 512, false, Read | Write}, true},
		{row(1, 32, "function", "", 4), GrantRow{1, 32, Function, 0, true, Execute}, true},
		{row(1, 31, "universe", 0, 4294967295), GrantRow{1, 31, Universe, 0, false, All}, true},
		{row(1, 31, "lua_eval", 0, 4), GrantRow{Grantor: 1, Grantee: 31, Privs: Execute}, false},
		{row(1, 31, "space", "t1", 4), GrantRow{1, 31, Space, 0, true, Execute}, false},
	} {
		if g, ok, err := ParseGrant(c.row); g != c.want || ok != c.ok || err != nil {
			t.Errorf("%x: %+v, %t, %v", c.row, g, ok, err)
		}
	}
	for _, bad := range [][]byte{nil, row(1, 2, "space", 5), row("x", 2, "space", 5, 1), row(1, -2, "space", 5, 1),
		row(1, 2, 3, 5, 1), row(1, 2, "space", []byte{0xc0}, 1), row(1, 2, "space", 5, "x"), row(1, 2, "space", 5, 1<<33)} {
		if g, _, err := ParseGrant(bad); err == nil {
			t.Errorf("%x was read as %+v", bad, g)
		}
	}
}

// TestBootstrapRows takes the rows of _user and _priv that a fresh Tarantool 2.6 has, as the recorded snapshot shows
// them, and checks what its built-in users may do.
func TestBootstrapRows(t *testing.T) {
	text, err := os.ReadFile("testdata/bootstrap_priv.txt")
	if err != nil {
		t.Fatal(err)
	}
	accounts := []Account{{ID: GuestID, Name: "guest"}, {ID: AdminID, Name: "admin"}, {ID: PublicID, Name: "public", IsRole: true},
		{ID: ReplicationID, Name: "replication", IsRole: true}, {ID: SuperID, Name: "super", IsRole: true}}
	var grants []GrantRow
	line := regexp.MustCompile(`^(\d+) (\d+) (\w+) (\d+) (\d+)$`)
	for l := range strings.Lines(string(text)) {
		m := line.FindStringSubmatch(strings.TrimSpace(l))
		if m == nil {
			t.Fatalf("line %q", l)
		}
		var n [4]int
		for i, word := range []string{m[1], m[2], m[4], m[5]} {
			n[i], _ = strconv.Atoi(word)
		}
		g, ok, err := ParseGrant(row(n[0], n[1], m[3], n[2], n[3]))
		if err != nil || !ok {
			t.Fatalf("%q: %t, %v", l, ok, err)
		}
		grants = append(grants, g)
	}
	r := Build(accounts, grants)
	for _, c := range []struct {
		user uint32
		want Priv
		kind ObjectType
		id   uint32
		ok   bool
	}{
		{GuestID, Read, Space, 281, true}, {GuestID, Read, Space, 280, false}, {GuestID, Write, Space, 281, false},
		{GuestID, Session | Usage, Universe, 0, true}, {GuestID, Execute, Universe, 0, false},
		{AdminID, All, Space, 512, true}, {AdminID, Execute, Universe, 0, true}, {SuperID, All, Sequence, 9, true},
		{ReplicationID, Read, Space, 512, true}, {ReplicationID, Write, Space, 320, true},
		{ReplicationID, Write, Space, 512, false},
	} {
		if got := r.Check(c.user, c.want, c.kind, c.id); got != c.ok {
			t.Errorf("%s of user %d on %s %d: %t", c.want, c.user, c.kind, c.id, got)
		}
	}
	if roles := r.Roles(GuestID); !slices.Equal(roles, []uint32{PublicID}) {
		t.Errorf("roles of guest: %v", roles)
	}
}

// BenchmarkCheck is what each request pays.
func BenchmarkCheck(b *testing.B) {
	r := Build([]Account{{ID: 40, Name: "u"}, {ID: 34, Name: "r", IsRole: true}}, []GrantRow{
		{Grantee: 40, Type: Role, ID: 34, Privs: Execute}, {Grantee: 34, Type: Space, ID: 512, Privs: Read}})
	for b.Loop() {
		if !r.Check(40, Read, Space, 512) {
			b.Fatal("refused")
		}
	}
}

func FuzzParseRows(f *testing.F) {
	f.Add(row(32, 1, "test", "user", []byte{0x81, 0xa1, 'x', 0xc0}))
	f.Add(row(1, 32, "space", 512, 3))
	f.Add(row(1, 32, "space", "", 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		meter.Check(t, len(b), 16, func() {
			_, _ = ParseAccount(b)
			_, _, _ = ParseGrant(b)
		})
		if a, err := ParseAccount(b); err == nil && len(a.Name) > len(b) {
			t.Errorf("%+v", a)
		}
		if g, ok, err := ParseGrant(b); err == nil && ok && g.Type >= objectTypes {
			t.Errorf("%+v", g)
		}
	})
}
