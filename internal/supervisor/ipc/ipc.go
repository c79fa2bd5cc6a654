// Package ipc holds the messages between the supervisor and its child: JSON lines from child to parent, and one document
// from parent to child. Pure: the pipes belong to packages supervisor and supervisor/child. What follows from a message
// is decided by package supervisor.
package ipc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lycosadb/lycosa/internal/lifecycle"
)

// Kind says what a message is.
type Kind string

// The kinds of messages, child to parent.
const (
	// Alive comes each second.
	Alive Kind = "alive"
	// Status comes at every change of stage, state or text.
	Status Kind = "status"
	// Ready comes once: RolesConfigured and grade Online.
	Ready Kind = "ready"
	// Rebootstrap: the entrypoint is durable; wipe and start the next child after this one has exited.
	Rebootstrap Kind = "rebootstrap"
	// Fatal comes before an exit that is not a clean stop.
	Fatal Kind = "fatal"
)

// Class is the exit class of a child; its number is the exit code.
type Class int

// The exit classes. Every other exit code, and death by signal, is a crash.
const (
	ClassStop        Class = 0
	ClassBootTimeout Class = 1
	ClassRefused     Class = 2
	ClassPoisoned    Class = 3
	// ClassCrash is what a child reports that stops for a reason without a class of its own.
	ClassCrash Class = 70
)

// String names the class.
func (c Class) String() string {
	switch c {
	case ClassStop:
		return "stop"
	case ClassBootTimeout:
		return "boot timeout"
	case ClassRefused:
		return "refused"
	case ClassPoisoned:
		return "poisoned"
	}
	return "crash"
}

// Message is one line from the child.
type Message struct {
	Kind Kind `json:"kind"`
	// Stage, State and Text belong to Status; Text is a sentence for people.
	Stage lifecycle.Stage `json:"stage,omitempty"`
	State lifecycle.State `json:"state,omitempty"`
	Text  string          `json:"text,omitempty"`
	// Record is set in a Status that is a change of state.
	Record *lifecycle.Record `json:"record,omitempty"`
	// Class and Message belong to Fatal.
	Class   Class  `json:"class,omitempty"`
	Message string `json:"message,omitempty"`
}

// LineBytesMax bounds a message on the wire; textBytesMax bounds each of its texts, so that every message fits.
const (
	LineBytesMax = 64 << 10
	textBytesMax = 4096
)

// Encode writes a message as one line with its newline. Texts that are too long are cut.
func Encode(m Message) ([]byte, error) {
	m.Text, m.Message = cut(m.Text), cut(m.Message)
	line, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("ipc: encode %s: %w", m.Kind, err)
	}
	if len(line) >= LineBytesMax {
		return nil, fmt.Errorf("ipc: encode %s: longer than %d bytes", m.Kind, LineBytesMax)
	}
	return append(line, '\n'), nil
}

func cut(text string) string {
	if len(text) > textBytesMax {
		return text[:textBytesMax]
	}
	return text
}

// Decode reads one line, with or without its newline.
func Decode(line []byte) (Message, error) {
	if len(line) > LineBytesMax {
		return Message{}, fmt.Errorf("ipc: a line is longer than %d bytes", LineBytesMax)
	}
	var m Message
	if err := json.Unmarshal(bytes.TrimSuffix(line, []byte("\n")), &m); err != nil {
		return Message{}, fmt.Errorf("ipc: decode: %w", err)
	}
	switch m.Kind {
	case Alive, Status, Ready, Rebootstrap, Fatal:
		return m, nil
	}
	return Message{}, fmt.Errorf("ipc: unknown message %q", cut(string(m.Kind)))
}

// handoffVersion is the version of the document from parent to child; both are the same executable.
const handoffVersion = 1

// HandoffBytesMax bounds that document: it holds a full history.
const HandoffBytesMax = 16 << 20

// Handoff is what the parent gives to every child.
type Handoff struct {
	Version int `json:"version"`
	// Config is the parent's configuration as package config exports it, without secrets.
	Config json.RawMessage `json:"config"`
	// Cookie is the cluster's secret; AdminPassword is the admin's first password or empty. Neither is in any file, log
	// or command line of the child.
	Cookie        []byte `json:"cookie,omitempty"`
	AdminPassword []byte `json:"admin_password,omitempty"`
	// History is what the earlier children have reported.
	History []lifecycle.Record `json:"history,omitempty"`
	// Refusal is set when the parent could not prepare the directory: the child only tells it, in InitError.
	Refusal *lifecycle.Cause `json:"refusal,omitempty"`
	// AfterCrash tells that the child before did not end in an orderly way.
	AfterCrash bool `json:"after_crash,omitempty"`
	// Program is the version of the program, as people read it.
	Program string `json:"program,omitempty"`
	// Starts is the number of this child, from 1.
	Starts int `json:"starts"`
	// AliveMs is the time between Alive messages, in milliseconds.
	AliveMs int `json:"alive_ms"`
}

// EncodeHandoff writes the document.
func EncodeHandoff(h Handoff) ([]byte, error) {
	h.Version = handoffVersion
	data, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("ipc: encode handoff: %w", err)
	}
	if len(data) > HandoffBytesMax {
		return nil, fmt.Errorf("ipc: handoff is longer than %d bytes", HandoffBytesMax)
	}
	return data, nil
}

// DecodeHandoff reads the document.
func DecodeHandoff(data []byte) (Handoff, error) {
	var h Handoff
	if len(data) > HandoffBytesMax {
		return h, fmt.Errorf("ipc: handoff is longer than %d bytes", HandoffBytesMax)
	}
	if err := json.Unmarshal(data, &h); err != nil {
		return Handoff{}, fmt.Errorf("ipc: decode handoff: %w", err)
	}
	if h.Version != handoffVersion {
		return Handoff{}, errors.New("ipc: parent and child are of different versions")
	}
	return h, nil
}
