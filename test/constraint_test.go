package test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

const (
	spaceFKConstraint = 356
	spaceCKConstraint = 364
)

// TestConstraintsStay: check constraints hold after a stop, a crash and a snapshot; foreign keys keep their index; and the
// real server goes on with both from our snapshot.
func TestConstraintsStay(t *testing.T) {
	t.Parallel()
	p := startInstance(t, options{})
	p.online()
	ctx := context.Background()
	c := p.admin()
	format := list{dict{"name": "ID", "type": "unsigned"}, dict{"name": "A", "type": "integer", "default": "1 + 1"}, dict{"name": "s", "type": "string"}}
	for id, name := range map[uint32]string{600: "child", 601: "parent"} {
		createSpaceWith(t, c, id, name, format, 0)
		createIndex(t, c, id, 0, "pk", "tree", true, list{list{0, "unsigned"}})
	}
	do(t, "check")(c.Insert(ctx, spaceCKConstraint, pack(list{600, "range", false, "SQL", "A BETWEEN 1 AND 9", true})))
	do(t, "check")(c.Insert(ctx, spaceCKConstraint, pack(list{600, "short", false, "SQL", `LENGTH("s") < 4 OR SUBSTR("s", -1) = '!'`, true})))
	do(t, "check")(c.Insert(ctx, spaceCKConstraint, pack(list{600, "off", false, "SQL", "A = 0", false})))
	do(t, "foreign key")(c.Insert(ctx, spaceFKConstraint, pack(list{"fk", 600, 601, false, "simple", "no_action", "no_action", list{0}, list{0}})))
	do(t, "row")(c.Insert(ctx, 600, pack(list{1, 5, "abc"})))
	holds := func(c *client.Client) {
		t.Helper()
		for _, r := range []struct {
			row  list
			text string
		}{
			{list{1, 10, "abc"}, "Check constraint failed 'range': A BETWEEN 1 AND 9"},
			{list{1, 5, "long"}, "Check constraint failed 'short'"},
			{list{1, 5, "long!"}, ""},
		} {
			_, err := c.Replace(ctx, 600, pack(r.row))
			if r.text == "" && err != nil || r.text != "" && (!errcode.Is(err, errcode.CKConstraintFailed) || !strings.Contains(err.Error(), r.text)) {
				t.Errorf("%v: %v", r.row, err)
			}
		}
		if _, err := c.Delete(ctx, iproto.ChangeArgs{Space: spaceIndex, Key: pack(list{601, 0})}); err == nil || !strings.Contains(err.Error(), "can not drop a referenced index") {
			t.Errorf("a referenced index: %v", err)
		}
	}
	holds(c)
	strike(t, p, killBoth)
	p = p.again()
	p.online()
	holds(p.admin())
	code, out, errs := run(t, "checkpoint", "--peer", p.adminSocket())
	if code != 0 {
		t.Fatalf("checkpoint: exit code %d\n%s%s", code, out, errs)
	}
	p.stop()
	p = p.again()
	p.online()
	holds(p.admin())
	path, _, _ := strings.Cut(out, ":")
	dir := t.TempDir()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, filepath.Base(path)), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	holds(dial(t, startTarantool(t, dir, ""), client.Options{User: "admin", Password: []byte(adminPassword)}))
}
