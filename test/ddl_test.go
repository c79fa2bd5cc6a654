package test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// definitions are the rows of _space and _index that belong to users' spaces, as one instance shows them; nil if it does not.
func definitions(p *proc) []byte {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, p.adminSocket(), client.Options{})
	if err != nil {
		return nil
	}
	defer conn.Close()
	var all []byte
	for _, space := range []uint32{spaceSpace, spaceIndex} {
		rows, err := conn.Select(ctx, iproto.SelectArgs{Space: space, Iterator: iproto.IterGE, Key: pack(list{512}), Limit: 1000})
		if err != nil {
			return nil
		}
		all = append(all, rows...)
	}
	return all
}

// alike waits until all instances that run show the definitions that one shows.
func (c *cluster) alike(one *proc) {
	c.t.Helper()
	for n, p := range c.instances {
		if p.running() {
			waitFor(c.t, fmt.Sprintf("the schema at instance %d", n+1), waitStart, func() bool {
				want := definitions(one)
				return want != nil && bytes.Equal(definitions(p), want)
			})
		}
	}
}

// With several replicasets there is one schema: what one instance makes, all have, also one that was away and one that
// comes later; what the rows of one replicaset do not allow, none has.
func TestSchemaOfSeveralReplicasets(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 1)
	c.online()
	first := c.instances[0]
	waitFor(t, "three replicasets", waitStart, func() bool {
		doc, ok := first.cluster()
		return ok && len(doc.Replicasets) == 3
	})
	kv := createSpace(t, first.admin(), 600, "kv")
	createIndex(t, first.admin(), 600, 1, "value", "tree", true, list{list{1, "unsigned"}})
	c.alike(first)
	for n, p := range c.instances {
		table{t, p.admin(), 600}.insert(list{n, n, 7})
	}
	second := table{t, c.instances[1].admin(), 600}
	second.insert(list{10, 10, 7})

	unique := pack(list{600, 2, "third", "tree", dict{"unique": true}, list{list{2, "unsigned"}}})
	if _, err := kv.c.Insert(context.Background(), spaceIndex, unique); !errcode.Is(err, errcode.SchemaAborted) {
		t.Errorf("an index that the rows of another replicaset violate: %v", err)
	}
	c.alike(first)
	kv.insert(list{20, 20, 7}) // nor is it here
	createIndex(t, c.instances[2].admin(), 600, 2, "third", "tree", false, list{list{2, "unsigned"}})
	c.alike(first)

	c.instances[2].kill()
	createSpace(t, first.admin(), 601, "later")
	do(t, "drop index")(second.c.Delete(context.Background(), iproto.ChangeArgs{Space: spaceIndex, Key: pack(list{600, 1})}))
	c.instances[2] = c.start(2)
	c.online()
	c.alike(first)
	if rows := (table{t, c.instances[2].admin(), 600}).rows(); len(rows) != 1 {
		t.Errorf("%d rows at the instance that was away, want 1", len(rows))
	}

	c.peers = append(c.peers, freeAddress(t))
	c.instances = append(c.instances, c.start(3))
	c.online()
	c.alike(first)
	table{t, c.instances[3].admin(), 601}.insert(list{1})
}

// What a replicaset had before there were others becomes the cluster's, rows and all.
func TestSchemaOfAReplicasetThatIsNotAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, 1)
	c.online()
	kv := createSpace(t, c.instances[0].admin(), 600, "kv")
	createIndex(t, kv.c, 600, 1, "value", "tree", true, list{list{1, "unsigned"}})
	kv.insert(list{1, 1})
	c.peers = append(c.peers, freeAddress(t))
	c.instances = append(c.instances, c.start(1))
	c.online()
	c.alike(c.instances[0])
	if n := len(kv.rows()); n != 1 {
		t.Errorf("%d rows where they were, want 1", n)
	}
	other := table{t, c.instances[1].admin(), 600}
	other.insert(list{1, 1})
	for _, index := range []int{1, 0} {
		do(t, "drop index")(other.c.Delete(context.Background(), iproto.ChangeArgs{Space: spaceIndex, Key: pack(list{600, index})}))
	}
	do(t, "drop space")(other.c.Delete(context.Background(), iproto.ChangeArgs{Space: spaceSpace, Key: pack(list{600})}))
	c.alike(c.instances[1])
}

// Two replicasets of two replicas each: a change is made at whichever instance, and a format that forbids more is looked at by
// all of them; one that forbids and allows has to be made as two.
func TestSchemaOfReplicas(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4, 2)
	c.online()
	var spaces []table
	for n, p := range c.instances {
		spaces = append(spaces, createSpace(t, p.admin(), uint32(600+n), fmt.Sprint("s", n)))
		c.alike(p)
	}
	format := func(s table, second string) error {
		_, err := s.c.Replace(context.Background(), spaceSpace, pack(list{int(s.id), 1, "s0", "memtx", 0, dict{},
			list{dict{"name": "id", "type": "unsigned"}, dict{"name": "b", "type": second}}}))
		return err
	}
	for n := range c.instances {
		table{t, spaces[n].c, 600}.insert(list{n, "text"})
	}
	if err := format(table{t, spaces[3].c, 600}, "unsigned"); !errcode.Is(err, errcode.SchemaAborted) {
		t.Errorf("a format that the rows do not have: %v", err)
	}
	for _, second := range []string{"string", "scalar"} { // one that forbids, one that allows
		if err := format(table{t, spaces[2].c, 600}, second); err != nil {
			t.Errorf("format %s: %v", second, err)
		}
		c.alike(c.instances[2])
	}
	if err := format(table{t, spaces[0].c, 600}, "map"); !errcode.Is(err, errcode.SchemaAborted) {
		t.Errorf("a format that forbids some rows and allows others: %v", err)
	}
	c.alike(c.instances[1])
}

// A replicaset that can not follow, because of a constraint of its own, holds up what needs its agreement no longer than it
// takes to say so, and follows as soon as it can.
func TestSchemaThatAReplicasetCanNotFollow(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := newCluster(t, 2, 1)
	c.online()
	one, other := c.instances[0].admin(), c.instances[1].admin()
	createSpace(t, one, 600, "parent")
	createIndex(t, one, 600, 1, "referenced", "tree", true, list{list{1, "unsigned"}})
	createSpaceWith(t, one, 601, "child", list{dict{"name": "id", "type": "unsigned"}}, 0)
	createIndex(t, one, 601, 0, "pk", "tree", true, list{list{0, "unsigned"}})
	c.alike(c.instances[0])
	do(t, "foreign key")(other.Insert(ctx, spaceFKConstraint,
		pack(list{"fk", 601, 600, false, "simple", "no_action", "no_action", list{0}, list{0}})))
	drop := func(id int) {
		t.Helper()
		do(t, "drop index")(one.Delete(ctx, iproto.ChangeArgs{Space: spaceIndex, Key: pack(list{600, id})}))
	}
	drop(1)
	drop(0) // which the other one's foreign key holds
	second := pack(list{601, 1, "second", "tree", dict{"unique": false}, list{list{0, "unsigned"}}})
	if _, err := one.Insert(ctx, spaceIndex, second); !errcode.Is(err, errcode.SchemaAborted) {
		t.Errorf("a change while a replicaset can not follow an earlier one: %v", err)
	}
	if now := definitions(c.instances[1]); bytes.Equal(now, definitions(c.instances[0])) || now == nil {
		t.Error("the foreign key has not kept the replicaset back")
	}
	do(t, "drop the foreign key")(other.Delete(ctx, iproto.ChangeArgs{Space: spaceFKConstraint, Key: pack(list{"fk", 601})}))
	c.alike(c.instances[0])
	do(t, "the change again")(one.Insert(ctx, spaceIndex, second))
	c.alike(c.instances[0])
}
