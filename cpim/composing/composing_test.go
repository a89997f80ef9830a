package composing_test

import (
	"strings"
	"testing"
	"time"

	"cpimgate/cpim/composing"
	"cpimgate/cpim/fault"
	"cpimgate/cpim/xmltree"
	"cpimgate/testdata"
)

func document(children string) string {
	return `<isComposing xmlns="` + composing.Space + `">` + children + `</isComposing>`
}

// TestVectors reads the RFC's documents and ours, and writes them again.
func TestVectors(t *testing.T) {
	for _, pattern := range []string{"s5-*", "own-extension", "own-no-*", "own-refresh-*", "own-unknown-*"} {
		testdata.Vectors(t, "rfc3994", pattern, func(t *testing.T, c *testdata.Case) {
			var want struct {
				State       string  `json:"state"`
				Token       string  `json:"state_token"`
				LastActive  string  `json:"lastactive"`
				ContentType string  `json:"contenttype"`
				Refresh     *int    `json:"refresh"`
				Timeout     *int    `json:"receiver_timeout_seconds"`
				ChatState   *string `json:"chat_state"`
			}
			c.JSON(&want)
			s, err := composing.Parse([]byte(c.Wire("wire.xml")))
			if err != nil {
				t.Fatal(err)
			}
			if s.State != want.State || s.Token != want.Token || s.ContentType != want.ContentType {
				t.Errorf("%+v", s)
			}
			if got := s.LastActive; got.IsZero() != (want.LastActive == "") || !got.IsZero() && got.Format(time.RFC3339) != want.LastActive {
				t.Errorf("last active %v", got)
			}
			if got := int(s.Refresh / time.Second); want.Refresh != nil && got != *want.Refresh || want.Refresh == nil && got != 0 && s.State == composing.Active {
				t.Errorf("refresh %d", got)
			}
			if got := int(s.Timeout() / time.Second); want.Timeout != nil && got != *want.Timeout {
				t.Errorf("timeout %d", got)
			}
			// What the state means to XMPP is for package mapping; here, that
			// composing is what active says and nothing else does.
			if want.ChatState != nil && (*want.ChatState == "composing") != (s.State == composing.Active) {
				t.Errorf("state %q where XMPP has %q", s.State, *want.ChatState)
			}
			again, err := composing.Parse(s.Bytes())
			if s.Token = ""; err != nil || *again != *s {
				t.Errorf("written as %s", s.Bytes())
			}
		})
	}
}

func TestParse(t *testing.T) {
	for in, want := range map[string]composing.Status{
		"<state> active\n</state>":                                                {State: composing.Active},
		"<state>Active</state>":                                                   {State: composing.Idle, Token: "Active"},
		"<state/>":                                                                {State: composing.Idle},
		"<refresh>60</refresh><state>active</state>":                              {State: composing.Active, Refresh: time.Minute},
		"<state>active</state><refresh>+60</refresh>":                             {State: composing.Active, Refresh: time.Minute},
		"<state>active</state><refresh> 060 </refresh>":                           {State: composing.Active, Refresh: time.Minute},
		"<state>active</state><refresh>-60</refresh>":                             {State: composing.Active},
		"<state>active</state><refresh>1.5</refresh>":                             {State: composing.Active},
		"<state>active</state><refresh>+-1</refresh>":                             {State: composing.Active},
		"<state>active</state><refresh/>":                                         {State: composing.Active},
		"<state>idle</state><lastactive>now</lastactive>":                         {State: composing.Idle},
		"<state>active</state><refresh>" + strings.Repeat("9", 40) + "</refresh>": {State: composing.Active, Refresh: (1<<31 - 1) * time.Second},
		"<x:state xmlns:x='u:x'>active</x:state><state>idle</state>":              {State: composing.Idle},
	} {
		s, err := composing.Parse([]byte(document(in)))
		if err != nil || *s != want {
			t.Errorf("%s: %+v, %v", in, s, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, in := range map[string]string{
		"no state":        document("<refresh>60</refresh>"),
		"no namespace":    "<isComposing><state>active</state></isComposing>",
		"other namespace": `<isComposing xmlns="urn:ietf:params:xml:ns:im-composing"><state>active</state></isComposing>`,
		"other element":   `<composing xmlns="` + composing.Space + `"><state>active</state></composing>`,
		"state elsewhere": document("<x:state xmlns:x='u:x'>active</x:state>"),
		"no XML":          "active",
		"empty":           "",
		"entity":          "<!DOCTYPE a [<!ENTITY x 'active'>]>" + document("<state>&x;</state>"),
		"too large":       document("<state>" + strings.Repeat("x", xmltree.Documents.Bytes) + "</state>"),
		"too deep":        document("<state>active</state>" + strings.Repeat("<a>", 20) + strings.Repeat("</a>", 20)),
	} {
		if s, err := composing.Parse([]byte(in)); fault.KindOf(err) != fault.Malformed {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

func TestTimeout(t *testing.T) {
	for refresh, want := range map[time.Duration]time.Duration{
		0:                       composing.DefaultTimeout,
		-time.Second:            composing.DefaultTimeout,
		time.Second:             time.Second,
		600 * time.Second:       composing.MaxTimeout,
		601 * time.Second:       composing.MaxTimeout,
		999999999 * time.Second: composing.MaxTimeout,
	} {
		if got := (&composing.Status{Refresh: refresh}).Timeout(); got != want {
			t.Errorf("%v: %v, want %v", refresh, got, want)
		}
	}
}

// TestBytes: the order of the schema (RFC 3994, section 6.1).
func TestBytes(t *testing.T) {
	s := composing.Status{
		State: composing.Active, LastActive: time.Date(2003, 1, 27, 10, 43, 0, 0, time.UTC),
		ContentType: "text/plain", Refresh: 90*time.Second + 500*time.Millisecond,
	}
	want := `<?xml version="1.0" encoding="UTF-8"?>
<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'><state>active</state>` +
		`<lastactive>2003-01-27T10:43:00Z</lastactive><contenttype>text/plain</contenttype><refresh>90</refresh></isComposing>`
	if got := string(s.Bytes()); got != want {
		t.Errorf("%s", got)
	}
	s = composing.Status{State: "gone"}
	if got := string(s.Bytes()); !strings.HasSuffix(got, "<state>idle</state></isComposing>") {
		t.Errorf("%s", got)
	}
}

// FuzzParse: what is accepted is written, and accepted again as the same.
func FuzzParse(f *testing.F) {
	for _, s := range testdata.Seeds("xml") {
		f.Add([]byte(s))
	}
	f.Add([]byte(document("<state>idle</state><lastactive>9999-12-31T23:59:59-23:59</lastactive><refresh>1</refresh>")))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := composing.Parse(b)
		if err != nil {
			return
		}
		if s.State != composing.Active && s.State != composing.Idle || s.Timeout() <= 0 || s.Timeout() > composing.MaxTimeout {
			t.Fatalf("%q: %+v", b, s)
		}
		again, err := composing.Parse(s.Bytes())
		if err != nil {
			t.Fatalf("%q written as %q: %v", b, s.Bytes(), err)
		}
		if again.State != s.State || !again.LastActive.Equal(s.LastActive) || again.ContentType != s.ContentType || again.Refresh != s.Refresh {
			t.Fatalf("%q: %+v, again %+v", b, s, again)
		}
	})
}
