package test

import (
	"context"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

const (
	spaceReplicaset = 417
	spaceTier       = 423
	spaceDBConfig   = 431
)

// What an administrator writes into the cluster's own tables on any instance holds on all of them, without a restart;
// values that are not allowed are refused, and so is everybody else.
func TestParametersChangeEverywhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.online()
	ctx := context.Background()
	everywhere := func(space uint32, want string) {
		t.Helper()
		for _, p := range c.instances {
			waitFor(t, want+" on "+p.listen, waitStart, func() bool {
				return strings.Contains(table{t: t, c: p.admin(), id: space}.json(), want)
			})
		}
	}
	for n, p := range c.instances {
		admin := p.admin()
		do(t, "update a parameter")(admin.Update(ctx, iproto.ChangeArgs{Space: spaceDBConfig, Key: pack(list{"raft_wal_count_max", ""}),
			Ops: pack(list{list{"=", 2, 200 + n}})}))
		everywhere(spaceDBConfig, `["raft_wal_count_max","",`+[]string{"200", "201", "202"}[n]+`]`)
	}
	admin := c.instances[2].admin()
	do(t, "replace a parameter")(admin.Replace(ctx, spaceDBConfig, pack(list{"governor_autoreturn", "", true})))
	everywhere(spaceDBConfig, `["governor_autoreturn","",true]`)
	do(t, "change the replication factor")(admin.Update(ctx, iproto.ChangeArgs{Space: spaceTier, Key: pack(list{"default"}),
		Ops: pack(list{list{"=", 1, 2}})}))
	everywhere(spaceTier, `["default",2,`)
	do(t, "give a weight")(admin.Update(ctx, iproto.ChangeArgs{Space: spaceReplicaset, Key: pack(list{"default_1"}),
		Ops: pack(list{list{"=", 5, 2.5}})}))
	everywhere(spaceReplicaset, `"default",2.5,"user"`)

	for what, refused := range map[string]struct {
		row  list
		code errcode.Code
	}{
		"a value out of range":   {list{"raft_wal_count_max", "", 1}, errcode.IllegalParams},
		"an unknown parameter":   {list{"no_such", "", 1}, errcode.IllegalParams},
		"a fixed parameter":      {list{"election_timeout", "", 2}, errcode.CASTableNotAllowed},
		"a row of another shape": {list{"raft_wal_count_max"}, errcode.FieldMissing},
	} {
		if _, err := admin.Replace(ctx, spaceDBConfig, pack(refused.row)); codeOf(err) != int(refused.code) {
			t.Errorf("%s: %v, want error %d", what, err, refused.code)
		}
	}
	if _, err := admin.Insert(ctx, spaceDBConfig, pack(list{"raft_wal_count_max", "", 300})); codeOf(err) != int(errcode.TupleFound) {
		t.Errorf("insertion of what is there: %v", err)
	}
	guest := dial(t, c.instances[0].listen, client.Options{})
	if _, err := guest.Replace(ctx, spaceDBConfig, pack(list{"raft_wal_count_max", "", 300})); codeOf(err) != int(errcode.AccessDenied) {
		t.Errorf("guest: %v", err)
	}
}
