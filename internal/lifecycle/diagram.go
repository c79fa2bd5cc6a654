package lifecycle

import (
	"errors"
	"fmt"
	"strings"
)

// Markers between which the generated part of a document lies.
const (
	MarkerBegin = "<!-- lifecycle:begin -->"
	MarkerEnd   = "<!-- lifecycle:end -->"
)

// ErrNoMarkers is returned by Splice for a document without exactly one pair of markers.
var ErrNoMarkers = errors.New(
	"lifecycle: the document needs one line " + MarkerBegin + " and after it one line " + MarkerEnd)

// Splice replaces what lies between the markers of a document.
func Splice(document, section string) (string, error) {
	if strings.Count(document, MarkerBegin) != 1 || strings.Count(document, MarkerEnd) != 1 {
		return "", ErrNoMarkers
	}
	before, rest, _ := strings.Cut(document, MarkerBegin)
	_, after, found := strings.Cut(rest, MarkerEnd)
	if !found {
		return "", ErrNoMarkers
	}
	return before + MarkerBegin + "\n" + strings.TrimSpace(section) + "\n" + MarkerEnd + after, nil
}

// ReadmeSection is the picture for README.md; svgPath is relative to it.
func ReadmeSection(svgPath string) string {
	return "![The states of an instance and the stages of its process](" + svgPath + ")\n"
}

// ArchitectureSection is both machines as Mermaid diagrams, with the table of stages and states, for ARCHITECTURE.md.
func ArchitectureSection() string {
	var b strings.Builder
	b.WriteString("States of an instance:\n\n```mermaid\n" + MermaidStates() + "```\n\n")
	b.WriteString("Stages of a process (dotted: by way of a new process):\n\n```mermaid\n" + MermaidStages() + "```\n\n")
	b.WriteString("Which state may occur in which stage:\n\n" + stageTable())
	return b.String()
}

// className is the style class of a state in the diagrams.
func className(s State) string {
	switch states[s].kind {
	case waiting:
		return "waiting"
	case resting:
		return "resting"
	case failed, failedHard:
		return "failed"
	default:
		return "passing"
	}
}

// palette is fill and line colour of each class.
var palette = [...]struct{ class, fill, line, says string }{
	{"passing", "#e3edfb", "#3d6fb4", "passes by itself"},
	{"waiting", "#fdf1d6", "#b07d1a", "may wait, and says for what"},
	{"resting", "#dff3e6", "#2c8a55", "normal work"},
	{"failed", "#fbe3e1", "#b8372c", "error, carries its cause"},
}

// MermaidStates is the instance's machine as a Mermaid state diagram.
func MermaidStates() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    direction TB\n")
	for _, p := range palette {
		fmt.Fprintf(&b, "    classDef %s fill:%s,stroke:%s,color:#1d2733\n", p.class, p.fill, p.line)
	}
	for _, e := range Edges() {
		from := e.From.String()
		if e.From == Start {
			from = "[*]"
		}
		fmt.Fprintf(&b, "    %s --> %s\n", from, e.To)
	}
	for _, p := range palette {
		var names []string
		for _, s := range States() {
			if className(s) == p.class {
				names = append(names, s.String())
			}
		}
		fmt.Fprintf(&b, "    class %s %s\n", strings.Join(names, ", "), p.class)
	}
	return b.String()
}

// MermaidStages is the stages of a process as a Mermaid flow chart; dotted edges lead into a new process.
func MermaidStages() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for _, e := range StageEdges() {
		arrow := "-->"
		if e.NewProcess {
			arrow = "-.->"
		}
		fmt.Fprintf(&b, "    %s %s|%s| %s\n", e.From, arrow, e.Why, e.To)
	}
	return b.String()
}

// stageTable is the table of stages and states in Markdown.
func stageTable() string {
	var b strings.Builder
	b.WriteString("| state |")
	for _, stage := range Stages() {
		fmt.Fprintf(&b, " %s |", stage)
	}
	b.WriteString("\n|---|" + strings.Repeat(":-:|", int(stageCount)) + "\n")
	for _, s := range append([]State{Start}, States()...) {
		fmt.Fprintf(&b, "| %s |", s)
		for _, stage := range Stages() {
			mark := ""
			if StateInStage(stage, s) {
				mark = "●"
			}
			fmt.Fprintf(&b, " %s |", mark)
		}
		b.WriteString("\n")
	}
	return b.String()
}
