package errcode

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestNewFillsTheTemplate(t *testing.T) {
	if e := New(NoSuchSpace, "x"); e.Error() != "Space 'x' does not exist" || e.Code != 36 || e.Class() != "ClientError" {
		t.Errorf("%d %s: %s", e.Code, e.Class(), e)
	}
	if e := New(CreateFunction, "why"); !strings.Contains(e.Error(), "CREATE_FUNCTION") || !strings.Contains(e.Error(), "why") {
		t.Errorf("a number without a text gives %q", e)
	}
	e := NewAccessDenied("Read", "space", "bank", "guest")
	if e.Error() != "Read access to space 'bank' is denied for user 'guest'" || e.Class() != "AccessDeniedError" || len(e.Fields) != 3 {
		t.Errorf("%s %s %v", e.Class(), e, e.Fields)
	}
}

func TestOfFindsTheErrorInAChain(t *testing.T) {
	inner := New(DiskFull, "data")
	outer := fmt.Errorf("write: %w", inner)
	if Of(outer) != inner || !Is(outer, DiskFull) || Is(outer, Poisoned) {
		t.Error("the error in the chain was not found")
	}
	plain := errors.New("plain")
	if e := Of(plain); e.Code != Unknown || e.Message != "plain" || Is(plain, Unknown) {
		t.Errorf("a plain error became %d %q", e.Code, e.Message)
	}
	cause := New(Poisoned, "no disk")
	e := Newf(UnknownOutcome, "lost %d", 1)
	e.Cause = cause
	if !Is(errors.Unwrap(e), Poisoned) || e.Error() != "lost 1" {
		t.Errorf("%v does not lead to its cause", e)
	}
}

func TestNamesAndHints(t *testing.T) {
	if NotALeader.Name() != "NOT_A_LEADER" || NotALeader != 10001 || UnknownOutcome != 12001 || Loading != 116 {
		t.Error("a number or name that others rely on has changed")
	}
	if Code(4242).Name() != "UNKNOWN" || Code(4242).Hint() != "" {
		t.Error("a number that is not in the table has a name or a hint")
	}
	for c, e := range table {
		if e.format != "" && c.Hint() == "" {
			t.Errorf("%d %s has a text and no hint", c, c.Name())
		}
		if h := e.hint; h != "" && (!strings.HasSuffix(h, ".") || strings.Contains(h, "  ")) {
			t.Errorf("%d %s: the hint is not a sentence: %q", c, c.Name(), h)
		}
	}
}
