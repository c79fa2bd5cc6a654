package lifecycle

import (
	"fmt"
	"strings"
)

// The picture is laid out by hand, because a few dozen boxes are read more easily in places chosen by someone who knows
// what they mean; a test demands a place for every state and a way for every edge of the tables.

const (
	boxWidth, boxHeight = 184, 46
	svgWidth, svgHeight = 940, 1110
	stagesTop           = 830 // y of the line above the picture of the stages
)

type point struct{ x, y int }

// statePlaces are the centres of the boxes: a fresh instance on the left, a restarted one beside
// it, errors on the right.
var statePlaces = [stateCount]point{
	Start:              {300, 100},
	Unconfigured:       {170, 190},
	ConfigFound:        {430, 190},
	ConfigLoaded:       {430, 290},
	BootstrappingBox:   {170, 390},
	RecoveringSnapshot: {430, 390},
	ConnectingFullmesh: {300, 490},
	BoxConfigured:      {300, 580},
	ConfiguringRoles:   {300, 670},
	RolesConfigured:    {300, 760},
	InitError:          {780, 240},
	BootError:          {780, 440},
	OperationError:     {780, 670},
}

// stateWays are the points through which each edge is drawn, the first and last on the borders of its boxes.
var stateWays = map[Edge][]point{
	{Start, Unconfigured}: {{290, 110}, {170, 110}, {170, 167}},
	{Start, ConfigFound}:  {{310, 110}, {430, 110}, {430, 167}},
	{Start, InitError}:    {{312, 92}, {780, 92}, {780, 217}},

	{Unconfigured, BootstrappingBox}: {{170, 213}, {170, 367}},
	{Unconfigured, InitError}:        {{230, 213}, {230, 240}, {688, 240}},
	{ConfigFound, ConfigLoaded}:      {{430, 213}, {430, 267}},
	{ConfigFound, InitError}:         {{522, 190}, {720, 190}, {720, 217}},

	{ConfigLoaded, RecoveringSnapshot}: {{430, 313}, {430, 367}},
	{ConfigLoaded, BootstrappingBox}:   {{338, 290}, {230, 290}, {230, 367}},
	{ConfigLoaded, InitError}:          {{522, 290}, {720, 290}, {720, 263}},

	{BootstrappingBox, ConnectingFullmesh}:   {{170, 413}, {170, 490}, {208, 490}},
	{BootstrappingBox, BootError}:            {{230, 413}, {230, 440}, {688, 440}},
	{RecoveringSnapshot, ConnectingFullmesh}: {{360, 413}, {360, 467}},
	{RecoveringSnapshot, BootError}:          {{522, 390}, {720, 390}, {720, 417}},

	{ConnectingFullmesh, ConnectingFullmesh}: {{250, 513}, {250, 536}, {120, 536}, {120, 502}, {208, 502}},
	{ConnectingFullmesh, BoxConfigured}:      {{300, 513}, {300, 557}},
	{ConnectingFullmesh, BootError}:          {{392, 490}, {720, 490}, {720, 463}},

	{BoxConfigured, ConfiguringRoles}:   {{300, 603}, {300, 647}},
	{ConfiguringRoles, RolesConfigured}: {{300, 693}, {300, 737}},
	{ConfiguringRoles, OperationError}:  {{392, 662}, {688, 662}},
	{OperationError, ConfiguringRoles}:  {{688, 680}, {392, 680}},
	{RolesConfigured, ConfiguringRoles}: {{208, 760}, {150, 760}, {150, 670}, {208, 670}},
}

var stagePlaces = [stageCount]point{
	Supervisor: {120, 970}, Discover: {360, 970}, Boot: {600, 915}, Join: {600, 1025}, Postjoin: {830, 970},
}

const stageWidth = 130

var stageWays = map[[2]Stage][]point{
	{Supervisor, Discover}: {{185, 970}, {295, 970}},
	{Supervisor, Boot}:     {{120, 947}, {120, 905}, {535, 905}},
	{Supervisor, Join}:     {{120, 993}, {120, 1035}, {535, 1035}},
	{Discover, Boot}:       {{360, 947}, {360, 924}, {535, 924}},
	{Discover, Join}:       {{360, 993}, {360, 1016}, {535, 1016}},
	{Discover, Postjoin}:   {{425, 970}, {765, 970}},
	{Boot, Postjoin}:       {{665, 915}, {830, 915}, {830, 947}},
	{Join, Postjoin}:       {{665, 1025}, {830, 1025}, {830, 993}},
}

// SVG draws both machines. The same tables give the same bytes.
func SVG() string {
	var b strings.Builder
	svgHead(&b)
	svgText(&b, point{40, 52}, "title", "States of an instance")
	for _, e := range Edges() {
		class := "edge"
		if e.To.IsError() {
			class = "edge fails"
		}
		svgWay(&b, class, stateWays[e], e.From.String()+" to "+e.To.String())
	}
	start := statePlaces[Start]
	fmt.Fprintf(&b, `<circle class="start" cx="%d" cy="%d" r="12"/>`+"\n", start.x, start.y)
	for _, s := range States() {
		var in []string
		for _, stage := range states[s].stages {
			in = append(in, stage.String())
		}
		under := "in " + strings.Join(in, ", ")
		if len(in) == int(stageCount) {
			under = "in every stage"
		}
		svgBox(&b, className(s), statePlaces[s], boxWidth, [2]string{s.String(), under})
	}
	svgLegend(&b)
	svgStages(&b)
	b.WriteString("</svg>\n")
	return b.String()
}

func svgHead(b *strings.Builder) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img">`+"\n", svgWidth, svgHeight)
	b.WriteString("<title>The states of an instance and the stages of its process</title>\n")
	b.WriteString("<!-- Generated from the tables of internal/lifecycle; do not edit. -->\n<style>\n")
	b.WriteString("text{font-family:system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1d2733}\n")
	b.WriteString(".title{font-size:17px;font-weight:600}\n.name{font-size:14px;font-weight:600;text-anchor:middle}\n")
	b.WriteString(".under{font-size:10.5px;fill:#55636f;text-anchor:middle}\n.note{font-size:12px;fill:#55636f}\n")
	b.WriteString(".edge{fill:none;stroke:#46535f;stroke-width:1.6;marker-end:url(#arrow)}\n")
	b.WriteString(".fails{stroke:#c9685f;stroke-width:1.2;stroke-dasharray:5 4;marker-end:url(#alarm)}\n")
	b.WriteString(".spawns{stroke-dasharray:2 4}\n.start{fill:#1d2733}\n.rule{stroke:#d5dce3}\n.box{stroke-width:1.6}\n")
	for _, p := range palette {
		fmt.Fprintf(b, ".%s{fill:%s;stroke:%s}\n", p.class, p.fill, p.line)
	}
	b.WriteString(".process{fill:#eef1f4;stroke:#5b6b7b}\n</style>\n<defs>\n")
	for _, m := range [...][2]string{{"arrow", "#46535f"}, {"alarm", "#c9685f"}} {
		fmt.Fprintf(b, `<marker id="%s" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="9" markerHeight="9" `+
			`markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 8 4 0 8Z" fill="%s"/></marker>`+"\n", m[0], m[1])
	}
	fmt.Fprintf(b, "</defs>\n"+`<rect width="%d" height="%d" rx="10" fill="#ffffff"/>`+"\n", svgWidth, svgHeight)
}

func svgStages(b *strings.Builder) {
	fmt.Fprintf(b, `<line class="rule" x1="40" y1="%d" x2="%d" y2="%d"/>`+"\n", stagesTop, svgWidth-40, stagesTop)
	svgText(b, point{40, stagesTop + 36}, "title", "Stages of a process")
	for _, e := range StageEdges() {
		class := "edge"
		if e.NewProcess {
			class = "edge spawns"
		}
		svgWay(b, class, stageWays[[2]Stage{e.From, e.To}], e.From.String()+" to "+e.To.String()+": "+e.Why)
	}
	under := [stageCount]string{"the parent", "look, find", "make a cluster", "become a member", "serve"}
	for _, s := range Stages() {
		svgBox(b, "process", stagePlaces[s], stageWidth, [2]string{s.String(), under[s]})
	}
	svgText(b, point{40, svgHeight - 24}, "note", "dotted: the supervisor wipes and starts a new process")
}

// svgLegend explains the colours, in the free corner beside normal work.
func svgLegend(b *strings.Builder) {
	for i, p := range palette {
		y := 728 + 22*i
		fmt.Fprintf(b, `<rect class="box %s" x="688" y="%d" width="14" height="14" rx="3"/>`+"\n", p.class, y)
		svgText(b, point{710, y + 11}, "note", p.says)
	}
}

func svgText(b *strings.Builder, at point, class, text string) {
	fmt.Fprintf(b, `<text class="%s" x="%d" y="%d">%s</text>`+"\n", class, at.x, at.y, text)
}

func svgBox(b *strings.Builder, class string, at point, width int, lines [2]string) {
	fmt.Fprintf(b, `<rect class="box %s" x="%d" y="%d" width="%d" height="%d" rx="9"/>`+"\n",
		class, at.x-width/2, at.y-boxHeight/2, width, boxHeight)
	svgText(b, point{at.x, at.y - 2}, "name", lines[0])
	svgText(b, point{at.x, at.y + 14}, "under", lines[1])
}

// svgWay draws a line through points, with its corners rounded.
func svgWay(b *strings.Builder, class string, way []point, title string) {
	if len(way) < 2 {
		return
	}
	fmt.Fprintf(b, `<path class="%s" d="M%d %d`, class, way[0].x, way[0].y)
	for i := 1; i < len(way)-1; i++ {
		in, out := towards(way[i], way[i-1]), towards(way[i], way[i+1])
		fmt.Fprintf(b, "L%d %dQ%d %d %d %d", in.x, in.y, way[i].x, way[i].y, out.x, out.y)
	}
	last := way[len(way)-1]
	fmt.Fprintf(b, `L%d %d"><title>%s</title></path>`+"\n", last.x, last.y, title)
}

// towards returns the point at most a corner's radius away from p in the direction of q; one coordinate is equal.
func towards(p, q point) point {
	const radius = 10
	step := func(from, to int) int { return from + max(-radius, min(radius, to-from)) }
	return point{step(p.x, q.x), step(p.y, q.y)}
}
