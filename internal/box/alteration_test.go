package box

import (
	"testing"

	"github.com/lycosadb/lycosa/internal/errcode"
)

// What a new row of _space would allow and forbid, compared with the space as it is.
func TestAlteration(t *testing.T) {
	s := &scripted{t: t, e: newTestEngine(t, Options{}), version: 1}
	s.r = s.e.NewReader()
	s.run(`insert 280 [600,1,"s","memtx",0,{},[{"name":"a","type":"unsigned"}]]`)
	s.run(`insert 288 [600,0,"pk","tree",{"unique":true},[[0,"unsigned"]]]`)
	for _, c := range []struct {
		row              string
		admits, admitted bool
	}{
		{`[600,1,"renamed","memtx",0,{},[{"name":"a","type":"unsigned"}]]`, true, true},
		{`[600,1,"s","memtx",0,{},[{"name":"a","type":"unsigned"},{"name":"b","type":"string"}]]`, false, true},
		{`[600,1,"s","memtx",2,{},[{"name":"a","type":"unsigned"}]]`, false, true},
		{`[600,1,"s","memtx",0,{},[]]`, true, true}, // the key stays a number
		{`[600,1,"s","memtx",0,{"temporary":true},[{"name":"a","type":"unsigned"}]]`, false, false},
	} {
		admits, admitted, err := s.e.PublishedSchema().Alteration(fromJSON(t, c.row))
		if err != nil || admits != c.admits || admitted != c.admitted {
			t.Errorf("%s: %v, %v, %v", c.row, admits, admitted, err)
		}
	}
	for row, code := range map[string]errcode.Code{
		`[601,1,"s","memtx",0,{},[]]`:                                   errcode.NoSuchSpace,
		`[600,1,"s","memtx",0,{},[{"name":"a","type":"array"}]]`:        errcode.FormatMismatchIndexPart,
		`[600,1,"s","memtx",0,{},[{"name":"a","type":"what is this"}]]`: errcode.AlterSpace,
	} {
		if _, _, err := s.e.PublishedSchema().Alteration(fromJSON(t, row)); !errcode.Is(err, code) {
			t.Errorf("%s: %v", row, err)
		}
	}
}
