package test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/iproto"
	"github.com/lycosadb/lycosa/internal/iproto/client"
)

// definitions are the rows of the dictionary that belong to users' spaces, as one instance shows them; nil if it does not.
func definitions(p *proc) []byte {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, p.adminSocket(), client.Options{})
	if err != nil {
		return nil
	}
	defer conn.Close()
	var all []byte
	for _, space := range []uint32{spaceSpace, spaceIndex, spaceSequence, spaceSpaceSequence, spaceCKConstraint, spaceFKConstraint} {
		q := iproto.SelectArgs{Space: space, Iterator: iproto.IterALL, Limit: 1000}
		if space == spaceSpace || space == spaceIndex {
			q.Iterator, q.Key = iproto.IterGE, pack(list{512})
		}
		rows, err := conn.Select(ctx, q)
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
	var sent []*client.Future // one right behind the other
	for _, row := range []struct {
		space uint32
		row   list
	}{{spaceSpace, list{601, 1, "next", "memtx", 0, dict{}, list{}}},
		{spaceIndex, list{601, 0, "pk", "tree", dict{"unique": true}, list{list{0, "unsigned"}}}},
		{spaceIndex, list{601, 1, "sk", "tree", dict{"unique": true}, list{list{1, "unsigned"}}}},
		{spaceTruncate, list{601, 1}}} {
		f, err := other.c.Send(context.Background(), iproto.TypeInsert, func(dst []byte, sync uint64) []byte {
			return iproto.AppendInsert(dst, iproto.TypeInsert, sync, row.space, pack(row.row))
		})
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, f)
	}
	for n, f := range sent {
		if _, err := f.Wait(context.Background()); err != nil {
			t.Errorf("change %d of those that were sent together: %v", n, err)
		}
	}
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

// Truncations, sequences and constraints are the cluster's too: made at one instance, they are everywhere when the answer
// comes, what the rows of another replicaset forbid is nowhere, and a new replicaset begins with them.
func TestSequencesAndConstraintsOfSeveralReplicasets(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := newCluster(t, 2, 1)
	c.online()
	one, other := c.instances[0].admin(), c.instances[1].admin()
	kv := createSpaceOf(t, one, 600, "kv", "id", "value")
	c.alike(c.instances[0])
	far := table{t, other, 600}

	do(t, "create sequence")(other.Insert(ctx, spaceSequence, pack(list{1, 1, "seq", 1, 1, int64(1<<63 - 1), 1, 0, false})))
	do(t, "bind sequence")(one.Insert(ctx, spaceSpaceSequence, pack(list{600, 1, true, 0, ""})))
	c.alike(c.instances[0])
	for _, s := range []table{kv, far, kv} { // each replicaset counts for itself
		do(t, "insert")(s.c.Insert(ctx, 600, pack(list{nil, 7})))
	}
	if kv.json() != `[[1,7],[2,7]]` || far.json() != `[[1,7]]` {
		t.Errorf("rows %s and %s", kv.json(), far.json())
	}

	check := func(code string) []byte { return pack(list{600, "check", false, "SQL", code, true}) }
	if _, err := one.Insert(ctx, spaceCKConstraint, check(`"value" < 5`)); codeOf(err) != int(errcode.CreateCKConstraint) {
		t.Errorf("a constraint on rows that are here: %v", err)
	}
	for n := range 3 {
		do(t, "truncate")(one.Replace(ctx, spaceTruncate, pack(list{600, 1})))
		if kv.json() != `[]` || far.json() != `[]` {
			t.Errorf("after truncation %d: rows %s and %s", n, kv.json(), far.json())
		}
		far.insert(list{1, n})
	}
	if _, err := one.Replace(ctx, spaceTruncate, pack(list{999, 1})); codeOf(err) != int(errcode.NoSuchSpace) {
		t.Errorf("truncation of no space: %v", err)
	}
	if _, err := one.Insert(ctx, spaceCKConstraint, check(`"value" < 5`)); !errcode.Is(err, errcode.SchemaAborted) {
		t.Errorf("a constraint on rows that are elsewhere: %v", err)
	}
	kv.insert(list{1, 7}) // it is not here
	do(t, "truncate")(other.Replace(ctx, spaceTruncate, pack(list{600, 1})))
	do(t, "constraint")(other.Insert(ctx, spaceCKConstraint, check(`"value" < 5`)))
	for _, s := range []table{kv, far} {
		if _, err := s.c.Insert(ctx, 600, pack(list{1, 7})); codeOf(err) != int(errcode.CKConstraintFailed) {
			t.Errorf("a row against the constraint: %v", err)
		}
	}
	createSpaceOf(t, other, 601, "child", "id", "kv")
	key := pack(list{"fk", 601, 600, false, "simple", "no_action", "no_action", list{1}, list{0}})
	do(t, "foreign key")(other.Insert(ctx, spaceFKConstraint, key))
	c.alike(c.instances[1])
	if _, err := one.Delete(ctx, iproto.ChangeArgs{Space: spaceIndex, Key: pack(list{600, 0})}); codeOf(err) != int(errcode.AlterSpace) {
		t.Errorf("the primary key that is referred to is dropped: %v", err)
	}

	c.peers = append(c.peers, freeAddress(t))
	c.instances = append(c.instances, c.start(2))
	c.online()
	c.alike(c.instances[0])
	third := c.instances[2].admin()
	if _, err := third.Insert(ctx, 600, pack(list{1, 7})); codeOf(err) != int(errcode.CKConstraintFailed) {
		t.Errorf("a row against the constraint at the new replicaset: %v", err)
	}
	dropAll(t, third)
	c.alike(c.instances[2])
}

// dropAll drops what TestSequencesAndConstraintsOfSeveralReplicasets has made for its first space, and the space.
func dropAll(t testing.TB, c *client.Client) {
	t.Helper()
	for _, gone := range []struct {
		space uint32
		key   list
	}{{spaceFKConstraint, list{"fk", 601}}, {spaceCKConstraint, list{600, "check"}}, {spaceSpaceSequence, list{600}}, {spaceSequence, list{1}},
		{spaceIndex, list{600, 0}}, {spaceTruncate, list{600}}, {spaceSpace, list{600}}} {
		if _, err := c.Delete(context.Background(), iproto.ChangeArgs{Space: gone.space, Key: pack(gone.key)}); err != nil {
			t.Errorf("drop %v of space %d: %v", gone.key, gone.space, err)
		}
	}
}

// createSpaceOf makes a space of two unsigned fields with a primary key over the first.
func createSpaceOf(t testing.TB, c *client.Client, id uint32, name, first, second string) table {
	t.Helper()
	createSpaceWith(t, c, id, name, list{dict{"name": first, "type": "unsigned"}, dict{"name": second, "type": "unsigned"}}, 0)
	createIndex(t, c, id, 0, "pk", "tree", true, list{list{0, "unsigned"}})
	return table{t, c, id}
}

// A replicaset that is away is not waited for. When it is back it is emptied once, and what is written then stays, restarts or not;
// one that comes later is not emptied at all. What a lone replicaset had of sequences and constraints becomes the cluster's.
func TestTruncationWhileAReplicasetIsAway(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := newCluster(t, 1, 1)
	c.online()
	one := c.instances[0].admin()
	do(t, "set the parameter")(one.Replace(ctx, 431, pack(list{"auto_offline_timeout", "", 1.0})))
	kv := createSpaceOf(t, one, 600, "kv", "id", "value")
	do(t, "create sequence")(one.Insert(ctx, spaceSequence, pack(list{1, 1, "seq", 1, 1, int64(1<<63 - 1), 1, 0, false})))
	do(t, "bind sequence")(one.Insert(ctx, spaceSpaceSequence, pack(list{600, 1, true, 0, ""})))
	do(t, "constraint")(one.Insert(ctx, spaceCKConstraint, pack(list{600, "check", false, "SQL", `"value" < 100`, true})))
	for range 5 {
		do(t, "insert")(one.Insert(ctx, 600, pack(list{nil, 7})))
	}
	c.peers = append(c.peers, freeAddress(t), freeAddress(t))
	c.instances = append(c.instances, c.start(1), c.start(2))
	c.online()
	c.alike(c.instances[0])
	if n := len(kv.rows()); n != 5 {
		t.Errorf("%d rows where they were, want 5", n)
	}
	far := table{t, c.instances[1].admin(), 600}
	for n := range 3 {
		do(t, "insert")(far.c.Insert(ctx, 600, pack(list{nil, n})))
	}
	c.instances[1].kill()
	do(t, "truncate")(one.Replace(ctx, spaceTruncate, pack(list{600, 1})))
	if got := kv.json(); got != `[]` {
		t.Errorf("rows after the truncation: %s", got)
	}
	for n := range 3 {
		c.instances[1] = c.start(1)
		c.online()
		c.alike(c.instances[0])
		far = table{t, c.instances[1].admin(), 600}
		waitFor(t, "the truncation at the replicaset that was away", waitStart, func() bool { return len(far.rows()) == n })
		do(t, "insert")(far.c.Insert(ctx, 600, pack(list{nil, n})))
		c.instances[1].kill()
	}
}

// Whoever is needed for a change is killed as soon as it is seen to be under way: the catalog's leader, then together with
// the leader of another replicaset. What the client was told is true everywhere in the end, and the next change goes through.
func TestSchemaChangesWhileLeadersDie(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := newCluster(t, 3, 1)
	c.online()
	first := c.instances[0].admin()
	do(t, "set the parameter")(first.Replace(ctx, 431, pack(list{"auto_offline_timeout", "", 1.0})))
	createSpaceOf(t, first, 600, "kv", "id", "value")
	c.alike(c.instances[0])
	for n := range 60 {
		table{t, c.instances[n%3].admin(), 600}.insert(list{n, n})
	}
	for round := range 2 {
		leader := c.leader("catalog", 3)
		at := slices.Index(c.instances, leader)
		asked, other := c.instances[(at+1)%3], c.instances[(at+2)%3]
		answer := make(chan error, 1)
		go func() {
			_, err := asked.admin().Insert(ctx, spaceIndex, pack(list{600, round + 1, fmt.Sprint("i", round), "tree", dict{"unique": true}, list{list{1, "unsigned"}}}))
			answer <- err
		}()
		waitFor(t, "a change under way, or done", waitStart, func() bool {
			rows, err := asked.admin().Select(ctx, iproto.SelectArgs{Space: 416, Iterator: iproto.IterEQ, Limit: 1, Key: pack(list{"pending_schema_version"})})
			return len(answer) > 0 || err == nil && len(split(t, rows)) > 0
		})
		killed := [][]*proc{{leader}, {leader, other}}[round]
		for _, p := range killed {
			p.kill()
		}
		for _, p := range killed {
			n := slices.Index(c.instances, p)
			c.instances[n] = c.start(n)
		}
		c.online()
		err := <-answer
		createSpace(t, asked.admin(), uint32(700+round), fmt.Sprint("next", round))
		c.alike(asked)
		there := bytes.Contains(definitions(asked), []byte(fmt.Sprint("i", round)))
		if err == nil && !there || errcode.Is(err, errcode.SchemaAborted) && there {
			t.Errorf("round %d: the answer was %v, the index is there: %t", round, err, there)
		}
	}
}
