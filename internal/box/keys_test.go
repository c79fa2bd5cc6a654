package box

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lycosadb/lycosa/internal/msgpack"
)

// TestKeysModel changes rows with keys that are equal without case, in a HASH or a TREE, with an index that excludes nil
// and one within a field, and compares with a map.
func TestKeysModel(t *testing.T) {
	for _, kind := range []string{"tree", "hash"} {
		rnd := rand.New(rand.NewPCG(3, 3))
		e := newTestEngine(t, Options{})
		s := &scripted{t: t, e: e, r: e.NewReader(), version: 1}
		defer s.r.Close()
		for _, line := range []string{`insert 280 [600,1,"t","memtx",0,{},[]]`,
			`insert 288 [600,0,"pk","` + kind + `",{"unique":true},[{"field":0,"type":"string","collation":2}]]`,
			`insert 288 [600,1,"x","tree",{"unique":false},[{"field":1,"type":"unsigned","is_nullable":true,"exclude_null":true}]]`,
			`insert 288 [600,2,"p","tree",{"unique":false},[{"field":2,"type":"string","collation":1,"path":"a.b"}]]`,
		} {
			if out := s.run(line); strings.HasPrefix(out, "error") {
				t.Fatal(line, out)
			}
		}
		rows, numbers := map[string]string{}, map[string]bool{}
		words := []string{"a", "A", "b", "B", "ab", "Ab", "aB", "é", "É", "ё", "Ё", "zebra", "ZEBRA", "zebra ", ""}
		for range 600 {
			word := words[rnd.IntN(len(words))] + words[rnd.IntN(len(words))]
			id := strings.ToLower(word)
			number := "null"
			if rnd.IntN(2) == 0 {
				number = fmt.Sprint(rnd.IntN(5))
			}
			tup := fmt.Sprintf(`[%q,%s,{"a":{"b":%q}}]`, word, number, words[rnd.IntN(len(words))])
			old, exists := rows[id]
			want := tup + "\n"
			line := "replace 600 " + tup
			switch rnd.IntN(4) {
			case 0:
				if line = "insert 600 " + tup; exists {
					want = "error 3: Duplicate key exists in unique index 'pk' in space 't'\n"
					tup, number = old, fmt.Sprint(numbers[id])
				}
			case 1:
				if line, want = fmt.Sprintf("delete 600 0 [%q]", word), old+"\n"; !exists {
					want = "-\n"
				}
				tup = ""
			}
			if out := s.run(line); out != want {
				t.Fatalf("%s: %s, want %s", line, out, want)
			}
			delete(rows, id)
			if tup != "" {
				rows[id] = tup
				numbers[id] = number != "null" && number != "false"
			}
			checkKeys(t, s, rows, numbers)
		}
	}
}

func checkKeys(t *testing.T, s *scripted, rows map[string]string, numbers map[string]bool) {
	t.Helper()
	for ix, want := range []int{len(rows), 0, len(rows)} {
		if ix == 1 {
			for id := range rows {
				if numbers[id] {
					want++
				}
			}
		}
		out, n, err := s.r.Select(&Query{SpaceID: 600, IndexID: uint32(ix), Iterator: iterALL, Limit: 1000, Key: msgpack.AppendArrayHeader(nil, 0)}, nil)
		if err != nil || n != want || len(splitTuples(out)) != n {
			t.Fatalf("index %d: %d rows, want %d, %v", ix, n, want, err)
		}
		kd := s.e.PublishedSchema().Space(600).Index(uint32(ix))
		got := splitTuples(out)
		for i := range got {
			if kd.Type == typeTree && i > 0 && kd.cmp.Compare(got[i-1], got[i]) >= 0 {
				t.Fatalf("index %d: rows %x and %x are not in order", ix, got[i-1], got[i])
			}
		}
	}
	for id, want := range rows {
		if out := s.run(fmt.Sprintf("select 600 0 eq [%q]", strings.ToUpper(id))); out != want+"\n" {
			t.Fatalf("%q: %s, want %s", id, out, want)
		}
	}
}
