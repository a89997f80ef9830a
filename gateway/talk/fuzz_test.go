package talk

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/imdn"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/gateway/step"
	"cpimgate/mapping"
	"cpimgate/testdata"
)

// samples gives a fuzzer the torture tests of RFC 4475 and the messages of the
// vectors.
func samples(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("../../cpim/sipx/testdata/rfc4475/*.dat")
	if err != nil || len(files) == 0 {
		f.Fatal("no samples", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range testdata.Seeds("sip") {
		f.Add([]byte(s))
	}
}

// read returns a message that the wire would hand on, or nil.
func read(b []byte) sip.Message {
	msg, err := sipx.Parser(1 << 20).ParseSIP(b)
	if err != nil {
		return nil
	}
	switch m := msg.(type) {
	case *sip.Request:
		if sipx.CheckRequest(m) != nil {
			return nil
		}
		m.Recipient = sipx.Resolve(m.Recipient)
	case *sip.Response:
		if sipx.CheckResponse(m) != nil {
			return nil
		}
	}
	return msg
}

// FuzzRequestToStanza: whatever a SIP user sends becomes one answer, now or
// when its stanza is taken, and stanzas that are well-formed to any parser, each
// by itself (RFC 6120, section 11.3).
func FuzzRequestToStanza(f *testing.F) {
	samples(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		req, ok := read(b).(*sip.Request)
		if !ok {
			return
		}
		from := step.Party{URI: mapping.WithGRUU(req.From().Address, req.From().Params)}
		to := step.Party{URI: req.Recipient}
		var err1, err2 error
		from.JID, err1 = mapping.ToJID(from.URI)
		to.JID, err2 = mapping.ToJID(to.URI)
		if err1 != nil || err2 != nil {
			return
		}
		talk := &Talk{Last: epoch, States: true, Memory: []Memo{{
			Way: step.ToSIP, At: epoch, Stanza: "x1", Message: "i2", From: juliet, To: romeo, Asked: &imdn.Request{},
		}}}
		effects := play(talk, step.Request{Tx: "t1", Peer: "example.net", From: from, To: to, SIP: req})
		answers, waits := 0, len(talk.Waiting)
		for _, e := range effects {
			switch e := e.(type) {
			case step.Answer:
				answers++
			case step.SendXMPP:
				whole(t, string(e.Stanza.Append(nil, xep.NS)))
				if e.Ref != "" && (waits != 1 || e.Ref != talk.Waiting[0].Ref) {
					t.Errorf("a stanza that nothing waits for: %s", e.Stanza)
				}
			}
		}
		if answers+waits != 1 {
			t.Errorf("%d answers, and %d wait", answers, waits)
		}
	})
}

// FuzzResponseToStanza: whatever a SIP server answers, its sender hears nothing
// or one well-formed error.
func FuzzResponseToStanza(f *testing.F) {
	samples(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		res, ok := read(b).(*sip.Response)
		if !ok || res.IsProvisional() {
			return
		}
		talk := &Talk{Last: epoch, Flying: outgoing("f1")}
		stanzas := 0
		for _, e := range play(talk, step.Response{Of: "f1", SIP: res}) {
			if e, ok := e.(step.SendXMPP); ok {
				stanzas++
				whole(t, string(e.Stanza.Append(nil, xep.NS)))
			}
		}
		if failed := res.StatusCode >= 300 && talk.Flying == nil; stanzas > 1 || failed != (stanzas == 1) {
			t.Errorf("%d stanzas for %s", stanzas, res)
		}
	})
}

// play tells a conversation what has happened.
func play(talk *Talk, ev step.Event) []step.Effect {
	ids := 0
	return talk.Step(step.Now{Time: epoch, ID: func() string { ids++; return fmt.Sprint("id", ids) }}, ev)
}

// whole fails the test unless a text is one stanza and nothing else to a parser
// that is not ours.
func whole(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader("<stream xmlns='" + xep.NS + "'>" + text + "</stream>"))
	depth, stanzas := 0, 0
	for {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if depth++; depth == 2 {
				stanzas++
				if tok.Name != (xml.Name{Space: xep.NS, Local: "message"}) {
					t.Errorf("%v in %s", tok.Name, text)
				}
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 1 {
				t.Errorf("text beside a stanza: %s", text)
			}
		default:
			t.Errorf("%T in %s", tok, text)
		}
	}
	if stanzas != 1 {
		t.Errorf("%d stanzas in %s", stanzas, text)
	}
}
