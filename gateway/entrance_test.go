package gateway_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/gateway/gatewaytest"
	"cpimgate/testdata"
)

// world is a SIP domain example.net whose gateway we are, and an XMPP domain
// example.com out there.
func world(t *testing.T, o gatewaytest.Options) *gatewaytest.World {
	t.Helper()
	w, err := gatewaytest.NewWorld(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// parse reads a request; what its path has added is left out.
func parse(t *testing.T, text string) *sip.Request {
	t.Helper()
	msg, err := sipx.Parser(1 << 20).ParseSIP([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	req := msg.(*sip.Request)
	for req.RemoveHeader("Via") {
	}
	return req
}

// TestVectors plays what RFC 7247, section 8 asks of the entrance.
func TestVectors(t *testing.T) {
	for _, name := range []string{"sips-refused", "max-forwards-zero"} {
		testdata.Vectors(t, "rfc7247", name, func(t *testing.T, c *testdata.Case) {
			w := world(t, gatewaytest.Options{})
			res, err := w.SIP.Send(parse(t, c.Wire("in.sip")))
			if err != nil {
				t.Fatal(err)
			}
			want := c.Text("out.sip")
			var lines []string
			for line := range strings.Lines(want) {
				switch name, _, _ := strings.Cut(line, ":"); name {
				case "Via", "To", "Warning": // ours have other tags and names
				default:
					lines = append(lines, line)
				}
			}
			c.Vary("To: tag", "Warning")
			if err := gatewaytest.Match(strings.ReplaceAll(res.String(), "\r\n", "\n"), strings.Join(lines, ""), map[string]string{}); err != nil {
				t.Errorf("got\n%s\nwant\n%s\n%v", res, want, err)
			}
			if strings.Contains(want, "Warning: 380") && !strings.Contains(sipx.Value(res, "Warning"), `"SIPS Not Allowed"`) {
				t.Errorf("no Warning 380 in\n%s", res)
			}
			if kinds := c.Lines("out.none"); len(kinds) != 1 || kinds[0] != "xmpp" || len(w.XMPP.Stanzas) > 0 {
				t.Errorf("a stanza was sent, or the vector wants something else: %v", kinds)
			}
		})
	}
}

const message = `MESSAGE sip:juliet@example.com SIP/2.0
Max-Forwards: 70
To: <sip:juliet@example.com>
From: <sip:romeo@example.net>;tag=vwxyz
Call-ID: c1
CSeq: 1 MESSAGE
Content-Type: text/plain
Content-Length: 4

Hark
`

// TestSIPDoor: who may say what for whom (ADDR-27 to ADDR-36, RES-20, RES-23,
// MSG-72), each with the words that the sender is answered.
func TestSIPDoor(t *testing.T) {
	w := world(t, gatewaytest.Options{})
	for _, tt := range []struct {
		name     string
		from, to string // replaced in the message above
		field    string // added to it
		status   int
		reason   string
		sender   string // of the stanza, if there is one
	}{
		{"plain", "", "", "", 200, "OK", "romeo@example.net"},
		{"spoofed", "sip:romeo@other.example", "", "", 403, "Not authorised for this sender", ""},
		{"anonymous", "sip:anonymous@anonymous.invalid", "", "", 433, "Anonymity Disallowed", ""},
		{"asserted", "sip:x@example.net", "", "P-Asserted-Identity: <sip:romeo@example.net>\n", 200, "OK", "romeo@example.net"},
		{"asserted by a stranger", "", "", "P-Asserted-Identity: <sip:tybalt@example.org>\n", 200, "OK", "romeo@example.net"},
		{"asserted and private", "sip:anonymous@anonymous.invalid", "", "P-Asserted-Identity: <sip:romeo@example.net>\nPrivacy: id\n", 433, "Anonymity Disallowed", ""},
		{"no user", "", "sip:example.com", "", 404, "this address is no user's", ""},
		{"no such domain", "", "sip:juliet@nowhere.example", "", 404, "domain does not exist", ""},
		{"no image", "", "sip:%F0%9F%98%80@example.com", "", 404, "", ""},
		{"ambiguous", "", "sip:a%EF%BC%A0b@example.com", "", 404, "", ""},
		{"sender without image", "sip:%F0%9F%98%80@example.net", "", "", 400, "", ""},
		{"home to home", "", "sip:mercutio@example.net", "", 404, "Not Found", ""},
		{"literal", "", "sip:juliet@192.0.2.1", "", 200, "OK", "romeo@example.net"}, // our own address: To decides (ADDR-29)
		{"device", "", "sip:juliet@example.com;gr=balcony", "", 200, "OK", "romeo@example.net"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := parse(t, testdata.CRLF(strings.Replace(message, "Max-", tt.field+"Max-", 1)))
			if tt.from != "" {
				setURI(t, &req.From().Address, tt.from)
			}
			if tt.to != "" {
				setURI(t, &req.Recipient, tt.to)
			}
			id := sip.CallIDHeader(t.Name())
			req.ReplaceHeader(&id)
			res, err := w.SIP.Send(req)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != tt.status || tt.reason != "" && res.Reason != tt.reason {
				t.Errorf("answer %d %s, want %d %s", res.StatusCode, res.Reason, tt.status, tt.reason)
			}
			if res.IsSuccess() && (len(res.Body()) > 0 || sipx.Has(res, "Contact")) { // RFC 3428, section 7
				t.Errorf("the answer says more than it may: %s", res)
			}
			if tt.status == 403 && sipx.Value(res, "Warning") == "" {
				t.Error("a refused sender is not told which setting refuses him")
			}
			if tt.sender == "" {
				if len(w.XMPP.Stanzas) > 0 {
					t.Errorf("and yet there came %s", <-w.XMPP.Stanzas)
				}
				return
			}
			if e := receive(t, w.XMPP.Stanzas); e.Get("from") != tt.sender {
				t.Errorf("from %s, want %s", e.Get("from"), tt.sender)
			}
		})
	}
}

// TestNumbers: a telephone number is one of the people of the domain that has
// them, as sender and as recipient, and nobody's without such a domain (ADDR-25).
func TestNumbers(t *testing.T) {
	w := world(t, gatewaytest.Options{SIPUsers: []string{"romeo", "+14155550100"}, XMPPUsers: []string{"juliet"}})
	send := func(from, to, status string) {
		t.Helper()
		req := parse(t, testdata.CRLF(message))
		setURI(t, &req.From().Address, from)
		setURI(t, &req.Recipient, to)
		id := sip.CallIDHeader(sipx.NewCallID())
		req.ReplaceHeader(&id)
		res, err := w.SIP.Send(req)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(res.StatusCode, " ", res.Reason); got != status {
			t.Errorf("%s to %s: answer %s, want %s", from, to, got, status)
		}
	}
	const number = "tel:+1-415-555-0100"
	send(number, "sip:juliet@example.com", "400 sender: telephone numbers have no domain here")
	send("sip:romeo@example.net", number, "404 telephone numbers have no domain here")
	if _, _, err := w.Reload(strings.Replace(w.YAML, "users: sip,", "users: sip, numbers: true,", 1)); err != nil {
		t.Fatal(err)
	}
	send(number, "sip:juliet@example.com", "200 OK")
	if e := receive(t, w.XMPP.Stanzas); e.Get("from") != "+14155550100@example.net" {
		t.Errorf("juliet has received %s", e)
	}
	send("sip:romeo@example.net", number, "200 OK")
	if req := <-w.SIP.Requests; req.Recipient.String() != "sip:+14155550100@example.net;user=phone" {
		t.Errorf("the number has received %s", req)
	}
}

// TestInbox: a domain that publishes im addresses is written to by them, others
// are not (ADDR-19; RFC 7247, section 6.5).
func TestInbox(t *testing.T) {
	for records, to := range map[string]string{
		"":                                    "<sip:romeo@example.net>",
		"_im._sip.example.net. SRV 0 0 0 .\n": "<sip:romeo@example.net>",
		"_pres._sip.example.net. SRV 0 0 5061 x.\n": "<sip:romeo@example.net>",
		"_im._sip.example.net. SRV 0 0 5061 x.\n":   "<im:romeo@example.net>",
	} {
		w := world(t, gatewaytest.Options{})
		if err := w.Add(records); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.Reload(regexp.MustCompile(`, server: "[^"]*"`).ReplaceAllString(w.YAML, "")); err != nil {
			t.Fatal(err)
		}
		if err := w.XMPP.Write("juliet", "romeo@example.net/orchard", "j1", "Hark"); err != nil {
			t.Fatal(err)
		}
		req := <-w.SIP.Requests
		if got := req.To().Value(); got != to || req.Recipient.String() != "sip:romeo@example.net;gr=orchard" {
			t.Errorf("%q: to %s, sent to %s; want %s", records, got, req.Recipient.String(), to)
		}
	}
}

// TestNotOurs: a request for the gateway itself is for the user whom To names,
// and else for nobody (RFC 3261, section 8.2.2.1; ADDR-29).
func TestNotOurs(t *testing.T) {
	w := world(t, gatewaytest.Options{})
	for to, status := range map[string]int{"sip:romeo@example.net": 200, "sip:romeo@gw.example.net": 404, "sip:romeo@192.0.2.1": 404} {
		for _, own := range []string{"sip:romeo@gw.example.net", "sip:romeo@192.0.2.1:5061"} {
			req := parse(t, testdata.CRLF(message))
			setURI(t, &req.Recipient, own)
			setURI(t, &req.To().Address, to)
			id := sip.CallIDHeader(sipx.NewCallID())
			req.ReplaceHeader(&id)
			res, err := w.SIP.Send(req)
			if err != nil || res.StatusCode != status {
				t.Fatalf("%s, to %s: %v, %v; want %d", own, to, res, err, status)
			}
			if status != 200 {
				continue
			}
			if got := <-w.SIP.Requests; got.Recipient.String() != to {
				t.Errorf("romeo has received %s", got)
			}
		}
	}
}

func setURI(t *testing.T, u *sip.Uri, text string) {
	t.Helper()
	var parsed sip.Uri
	if err := sip.ParseUri(text, &parsed); err != nil {
		t.Fatal(err)
	}
	*u = parsed
}

func parseStanza(t *testing.T, text string) *xmltree.Element {
	t.Helper()
	e, err := xmltree.ParseIn([]byte(text), xep.NS, xmltree.Documents)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// patience is how long a test waits for what must come. Nothing is expected to
// take so long, and nothing is slower for it.
const patience = 2 * time.Minute

func receive(t *testing.T, c chan *xmltree.Element) *xmltree.Element {
	t.Helper()
	select {
	case e := <-c:
		return e
	case <-time.After(patience):
		t.Fatal("nothing came")
		return nil
	}
}

// TestXMPPDoor: what is not carried is answered as decision D-85 says, and a
// stanza that is for nobody gets the same answer whoever is asked for (ERR-08,
// ERR-14, ERR-15, MSG-01, MSG-72).
func TestXMPPDoor(t *testing.T) {
	w := world(t, gatewaytest.Options{SIPUsers: []string{"romeo"}, XMPPUsers: []string{"juliet", `a\5cb`}})
	for _, tt := range []struct{ name, stanza, condition string }{
		{"groupchat", `<message from='juliet@example.com/b' to='romeo@example.net' type='groupchat' id='x'><body>all</body></message>`, "service-unavailable"},
		{"room", `<presence from='juliet@example.com/b' to='verona@example.net/Juliet' id='x'><x xmlns='http://jabber.org/protocol/muc'/></presence>`, "service-unavailable"},
		{"no user", `<message from='juliet@example.com/b' to='example.net' id='x'><body>Hark</body></message>`, "service-unavailable"},
		{"unknown user", `<message from='juliet@example.com/b' to='nobody@example.net' id='x'><body>Hark</body></message>`, "item-not-found"},
		{"no image", `<message from='juliet@example.com/b' to='a\5cb@example.net' id='x'><body>Hark</body></message>`, "item-not-found"},
		{"sender without image", `<message from='a\5cb@example.com/b' to='romeo@example.net' id='x'><body>Hark</body></message>`, "jid-malformed"},
		{"subscribe", `<presence from='juliet@example.com' to='romeo@example.net' type='subscribe' id='x'/>`, ""},
		{"error", `<message from='juliet@example.com/b' to='romeo@example.net' type='error' id='x'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`, ""},
		{"error to nobody", `<message from='juliet@example.com/b' to='nobody@example.net' type='error' id='x'/>`, ""},
		{"error to no user", `<message from='juliet@example.com/b' to='example.net' type='error' id='x'/>`, ""},
		{"error to no image", `<message from='juliet@example.com/b' to='a\5cb@example.net' type='error' id='x'/>`, ""},
		{"error without image", `<message from='a\5cb@example.com/b' to='romeo@example.net' type='error' id='x'/>`, ""},
		{"error that is a message", `<message from='juliet@example.com/b' to='nobody@example.net' type='error' id='x'><body>Hark</body></message>`, ""},
		{"presence error", `<presence from='juliet@example.com/b' to='nobody@example.net' type='error' id='x'/>`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := parseStanza(t, tt.stanza)
			if err := w.XMPP.Send(e); err != nil {
				t.Fatal(err)
			}
			want := tt.condition
			if want == "" { // silence: what is heard next is about the next
				if err := w.XMPP.Write("juliet", "nobody@example.net", "x", "Hark"); err != nil {
					t.Fatal(err)
				}
				want = "item-not-found"
			}
			got := receive(t, w.XMPP.Stanzas)
			if x := xep.ErrorOf(got); got.Get("id") != "x" || x.Condition != want || got.Name.Local != e.Name.Local && tt.condition != "" {
				t.Errorf("there came %s, want %s", got, want)
			}
		})
	}
}
