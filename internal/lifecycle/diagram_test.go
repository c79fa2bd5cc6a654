package lifecycle

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestSplice(t *testing.T) {
	for _, doc := range []string{
		"", MarkerBegin, MarkerEnd, MarkerEnd + MarkerBegin, MarkerBegin + MarkerBegin + MarkerEnd,
		MarkerBegin + MarkerEnd + MarkerEnd,
	} {
		if _, err := Splice(doc, "x"); !errors.Is(err, ErrNoMarkers) {
			t.Errorf("%q: error %v", doc, err)
		}
	}
	got, err := Splice("a"+MarkerBegin+"old"+MarkerEnd+"b", "new\n")
	if want := "a" + MarkerBegin + "\nnew\n" + MarkerEnd + "b"; err != nil || got != want {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestMermaidHasEveryEdgeAndNoOther(t *testing.T) {
	var got []string
	for _, line := range strings.Split(MermaidStates(), "\n") {
		if from, to, found := strings.Cut(strings.TrimSpace(line), " --> "); found {
			got = append(got, strings.Replace(from, "[*]", "(start)", 1)+" "+to)
		}
	}
	var want []string
	for _, from := range allStates() {
		for _, to := range allStates() {
			if Allowed(from, to) {
				want = append(want, from.String()+" "+to.String())
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if n := strings.Count(MermaidStages(), "|"); n != 2*len(StageEdges()) {
		t.Errorf("the diagram of the stages has %d edges", n/2)
	}
	if n := strings.Count(ArchitectureSection(), "●"); n != countPairs() {
		t.Errorf("the table of stages has %d marks, want %d", n, countPairs())
	}
}

func countPairs() (n int) {
	for _, s := range allStates() {
		for _, stage := range Stages() {
			if StateInStage(stage, s) {
				n++
			}
		}
	}
	return n
}

// onBorder reports whether p lies on the border of the box around centre.
func onBorder(p, centre point, width, height int) bool {
	dx, dy := max(p.x-centre.x, centre.x-p.x), max(p.y-centre.y, centre.y-p.y)
	return dx == width/2 && dy <= height/2 || dy == height/2 && dx <= width/2
}

func TestPictureHasAPlaceAndAWayForEverything(t *testing.T) {
	for _, e := range Edges() {
		way := stateWays[e]
		if len(way) < 2 {
			t.Errorf("%s -> %s has no way in the picture", e.From, e.To)
			continue
		}
		if e.From != Start && !onBorder(way[0], statePlaces[e.From], boxWidth, boxHeight) {
			t.Errorf("%s -> %s does not begin at its box", e.From, e.To)
		}
		if !onBorder(way[len(way)-1], statePlaces[e.To], boxWidth, boxHeight) {
			t.Errorf("%s -> %s does not end at its box", e.From, e.To)
		}
		checkWay(t, way)
	}
	if len(stateWays) != len(Edges()) || len(stageWays) != len(StageEdges()) {
		t.Error("the picture has a way that is not in the tables")
	}
	for _, e := range StageEdges() {
		way := stageWays[[2]Stage{e.From, e.To}]
		if len(way) < 2 || !onBorder(way[0], stagePlaces[e.From], stageWidth, boxHeight) ||
			!onBorder(way[len(way)-1], stagePlaces[e.To], stageWidth, boxHeight) {
			t.Errorf("%s -> %s has no way in the picture", e.From, e.To)
		}
		checkWay(t, way)
	}
}

// checkWay demands straight lines along the axes, inside the picture.
func checkWay(t *testing.T, way []point) {
	t.Helper()
	for i, p := range way {
		if p.x < 0 || p.y < 0 || p.x > svgWidth || p.y > svgHeight {
			t.Errorf("%v lies outside of the picture", p)
		}
		if i > 0 && p.x != way[i-1].x && p.y != way[i-1].y {
			t.Errorf("%v to %v is not along an axis", way[i-1], p)
		}
	}
}

func TestSVGIsWellFormedAndDeterministic(t *testing.T) {
	picture := SVG()
	if picture != SVG() {
		t.Error("two pictures of the same tables differ")
	}
	counts := map[string]int{}
	d := xml.NewDecoder(strings.NewReader(picture))
	for {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if el, ok := tok.(xml.StartElement); ok && (el.Name.Local == "path" || el.Name.Local == "rect") {
			for _, a := range el.Attr {
				if a.Name.Local == "class" {
					counts[el.Name.Local]++
				}
			}
		}
	}
	if want := len(Edges()) + len(StageEdges()); counts["path"] != want {
		t.Errorf("%d ways, want %d", counts["path"], want)
	}
	if want := len(States()) + len(Stages()) + len(palette); counts["rect"] != want {
		t.Errorf("%d boxes, want %d", counts["rect"], want)
	}
}
