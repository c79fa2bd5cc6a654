// Package errcode is the one numbered table of the errors that a client may see. Pure.
//
// Numbers up to 999 are Tarantool's and carry the texts of Tarantool 2.6, 10000-10099 are Picodata's, from 12000 on
// they are Lycosa's own. Errors that no client sees are ordinary wrapped Go errors and do not belong here.
//
// The table itself is codes.txt, from which codes.go, table.go and docs/errors.md are made.
package errcode

//go:generate go run ./gen -root ../..

import (
	"errors"
	"fmt"
)

// Code is the number of a client-visible error as it goes over the wire (there with bit 0x8000 set).
type Code uint32

// entry is a line of the table. format is empty for numbers that only others send, hint as well.
type entry struct {
	name   string
	format string
	hint   string
}

// Name returns the symbolic name of the code, for example "NO_SUCH_SPACE", or "UNKNOWN" for a number not in the table.
func (c Code) Name() string {
	if e, ok := table[c]; ok {
		return e.name
	}
	return table[Unknown].name
}

// Hint returns what a user can do about an error with this number: one or a few sentences, or nothing for a number that
// this program does not send.
func (c Code) Hint() string { return table[c].hint }

// Field is one pair of the structured payload of an error (error map key 6 of the binary protocol).
type Field struct{ Name, Value string }

// Error is a client-visible error.
type Error struct {
	Code    Code
	Message string
	// Type is the class name that clients see: "ClientError" unless set otherwise.
	Type string
	// Fields is the structured payload, empty for most errors.
	Fields []Field
	// Cause is the error below this one on the error stack, or nil.
	Cause error
}

// New makes an error from the table's text for c and its arguments.
func New(c Code, args ...any) *Error {
	e, ok := table[c]
	if !ok || e.format == "" {
		return &Error{Code: c, Message: fmt.Sprint(append([]any{c.Name()}, args...)...)}
	}
	return &Error{Code: c, Message: fmt.Sprintf(e.format, args...)}
}

// Newf makes an error with the number c and a text of its own.
func Newf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// NewAccessDenied makes error 42 with the payload that Tarantool's clients expect:
// access is "Read", "Write", "Execute" ..., objectType "space", "function", "universe" ...
func NewAccessDenied(access, objectType, objectName, user string) *Error {
	e := New(AccessDenied, access, objectType, objectName, user)
	e.Type = "AccessDeniedError"
	e.Fields = []Field{{"object_type", objectType}, {"object_name", objectName}, {"access_type", access}}
	return e
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Class returns the class name shown to clients.
func (e *Error) Class() string {
	if e.Type == "" {
		return "ClientError"
	}
	return e.Type
}

// Of returns the client-visible error in err's chain; an error without one becomes number 0 with err's text.
func Of(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: Unknown, Message: err.Error()}
}

// Is reports whether err's chain holds a client-visible error with number c.
func Is(err error, c Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == c
}
