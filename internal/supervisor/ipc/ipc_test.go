package ipc

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lycosadb/lycosa/internal/lifecycle"
	"github.com/lycosadb/lycosa/internal/meter"
)

func messages() []Message {
	return []Message{
		{Kind: Alive}, {Kind: Ready}, {Kind: Rebootstrap},
		{Kind: Fatal, Class: ClassPoisoned, Message: "sync failed: input/output error\nsecond line"},
		{Kind: Status, Stage: lifecycle.Postjoin, State: lifecycle.BootError, Text: "port taken", Record: &lifecycle.Record{
			From: lifecycle.ConfigLoaded, To: lifecycle.BootError, At: time.Unix(3, 4).UTC(), DurationMs: 5,
			Cause: &lifecycle.Cause{Code: 116, Message: "port taken", Field: "listen"}, Stage: lifecycle.Postjoin, PID: 6,
		}},
	}
}

func TestMessagesSurviveTheWire(t *testing.T) {
	for _, m := range messages() {
		line, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Errorf("%q is not one line", line)
		}
		got, err := Decode(line)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("decoded %+v, error %v, want %+v", got, err, m)
		}
	}
}

func TestLongTextsAreCut(t *testing.T) {
	line, err := Encode(Message{Kind: Fatal, Message: strings.Repeat("x", LineBytesMax), Text: strings.Repeat("\x01", LineBytesMax)})
	if err != nil || len(line) > LineBytesMax {
		t.Errorf("%d bytes, error %v, want a message that fits", len(line), err)
	}
}

func TestBadLinesAreRefused(t *testing.T) {
	for _, line := range []string{"", "{}", "null", `{"kind":"dance"}`, `{"kind":"status","state":"Nowhere"}`, "{\"kind\":\"alive\"", strings.Repeat("x", LineBytesMax+1)} {
		if m, err := Decode([]byte(line)); err == nil {
			t.Errorf("%.40q was read as %+v", line, m)
		}
	}
}

func TestHandoffSurvivesTheWire(t *testing.T) {
	h := Handoff{Config: []byte(`{"values":{}}`), Cookie: []byte{1, 2}, AdminPassword: []byte("p"), AfterCrash: true, Starts: 3, AliveMs: 1000,
		Program: "1", History: []lifecycle.Record{*messages()[4].Record}, Refusal: &lifecycle.Cause{Message: "no"}}
	data, err := EncodeHandoff(h)
	if err != nil {
		t.Fatal(err)
	}
	h.Version = handoffVersion
	if got, err := DecodeHandoff(data); err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("decoded %+v, error %v, want %+v", got, err, h)
	}
	if _, err := DecodeHandoff([]byte(`{"version":2}`)); err == nil {
		t.Error("a handoff of another version was read")
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages() {
		line, err := Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		meter.Check(t, len(line), 64, func() {
			_, _ = Decode(line)
			_, _ = DecodeHandoff(line)
		})
		m, err := Decode(line)
		if err != nil {
			return
		}
		again, err := Encode(m)
		if err != nil {
			t.Fatalf("%+v was read but cannot be written: %v", m, err)
		}
		if _, err := Decode(again); err != nil {
			t.Fatalf("%q was written but cannot be read: %v", again, err)
		}
	})
}
