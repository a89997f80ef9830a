package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"
	"golang.org/x/tools/txtar"

	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/gateway/gatewaytest"
	"cpimgate/testdata"
)

// dawn is when the tests of map take place.
var dawn = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// usual is map without options.
var usual = mapCommand{File: "-", PagerType: "normal", PagerSize: 1300, BareJIDErrors: "6xx", Encrypted: "refuse", XHTML: true}

var (
	random = regexp.MustCompile(`tag=[0-9a-f]{8}-[0-9a-f-]{27}`)

	// hop is what the trunk puts into a request for one hop; its own tests look
	// at that.
	hop = regexp.MustCompile(`(?m)^(Via: SIP/2.0/TLS gateway.invalid|Max-Breadth:|User-Agent:).*\n`)
)

// run returns what map prints and its exit status.
func (m mapCommand) run(in string) string {
	text, err := m.convert([]byte(in), dawn)
	code := 0
	if err != nil {
		code = statusOf(err)
		if err.Error() != "" {
			text += err.Error() + "\n"
		}
	}
	text = hop.ReplaceAllString(random.ReplaceAllString(text, "tag=..."), "")
	return fmt.Sprintf("%s== exit %d\n", text, code)
}

// TestMapVectors gives map the examples of RFC 7572, as files with the line
// ends of an editor.
func TestMapVectors(t *testing.T) {
	files, err := filepath.Glob("../../testdata/vectors/rfc7572/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var out strings.Builder
	for _, file := range files {
		if strings.HasPrefix(filepath.Base(file), "size-") {
			continue // what it holds is for the loader to make
		}
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, section := range a.Files {
			if !strings.HasPrefix(section.Name, "in.") || section.Name == "in.context" {
				continue
			}
			fmt.Fprintf(&out, "== %s %s\n%s\n", filepath.Base(file), section.Name, usual.run(string(section.Data)))
		}
	}
	testdata.Golden(t, "map/rfc7572.golden", out.String())
}

const (
	text = `MESSAGE sip:juliet@example.com SIP/2.0
Via: SIP/2.0/TLS s2x.example.net;branch=z9hG4bKeskdgs
Max-Forwards: 70
To: sip:juliet@example.com
From: <sip:romeo@example.net>;tag=vwxyz
Call-ID: 9E97FB43
CSeq: 1 MESSAGE
Content-Type: text/plain
Content-Length: 44

Neither, fair saint, if either thee dislike.
`
	stanza   = "<message from='juliet@example.com/b' to='romeo@example.net' id='j1'><body>Art thou not Romeo?</body></message>"
	response = `SIP/2.0 404 Not Found
Via: SIP/2.0/TLS gw.example.com;branch=z9hG4bK1
From: <sip:juliet@example.com;gr=b>;tag=1
To: <sip:romeo@example.net>;tag=2
Call-ID: x
CSeq: 1 MESSAGE
Content-Length: 0

`
	bounce = "<message from='juliet@example.com' to='romeo@example.net' id='r1' type='error'>" +
		"<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
)

// replaced returns a text with something else in one place.
func replaced(in, old, by string) string {
	if !strings.Contains(in, old) {
		panic(old)
	}
	return strings.Replace(in, old, by, 1)
}

// TestMap: what is said of each kind of input, and with which exit status.
func TestMap(t *testing.T) {
	gateway, chat, four, plain, small := usual, usual, usual, usual, usual
	gateway.Gateway = "sip.example.com"
	chat.PagerType = "chat"
	four.BareJIDErrors = "4xx"
	plain.XHTML = false
	small.PagerSize = 300
	html := replaced(replaced(text, "text/plain", "text/html"), "Neither, fair saint, if either thee dislike.", "<p>Neither, <b>fair saint</b>, if either it.</p>")
	encrypted := replaced(stanza, "<body>", "<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl'/><body>")
	fallback := usual
	fallback.Encrypted = "fallback"
	for _, tt := range []struct {
		name string
		m    mapCommand
		in   string
		code int
		want []string // in this order
	}{
		{"MESSAGE", usual, text, 0, []string{"# to example.com, over XMPP\n<message from='romeo@example.net' to='juliet@example.com' id=", "dislike.</body>", "# answer to the SIP sender\nSIP/2.0 200 OK", "# delivered"}},
		{"line ends of the wire", usual, strings.ReplaceAll(text, "\n", "\r\n"), 0, []string{"dislike.</body>", "200 OK"}},
		{"byte order mark", usual, "\ufeff\n" + text, 0, []string{"dislike.</body>"}},
		{"gateway name", gateway, text, 0, []string{`from='romeo\40example.net@sip.example.com'`}},
		{"chat", chat, text, 0, []string{"type='chat'"}},
		{"html", usual, html, 0, []string{"<strong>fair saint</strong>"}},
		{"html no more", plain, html, 0, []string{"<body>Neither, fair saint, if either it.</body><origin-id"}},
		{"type", usual, replaced(text, "text/plain", "application/json"), 1, []string{"SIP/2.0 415 ", "Accept: text/plain", "# refused: "}},
		{"method", usual, replaced(replaced(text, "MESSAGE sip", "SUBSCRIBE sip"), "1 MESSAGE", "1 SUBSCRIBE"), 1, []string{"SIP/2.0 489 Bad Event", "Allow: OPTIONS, MESSAGE"}},
		{"hops", usual, replaced(text, "Max-Forwards: 70", "Max-Forwards: 0"), 1, []string{"SIP/2.0 483 "}},
		{"two From", usual, replaced(text, "CSeq", "From: <sip:a@example.net>;tag=1\nCSeq"), 1, []string{"SIP/2.0 400 "}},
		{"sips", usual, replaced(text, "MESSAGE sip:", "MESSAGE sips:"), 1, []string{"SIP/2.0 480 ", "Warning: 380 "}},
		{"nobody", usual, replaced(text, "romeo@example.net", "anonymous@anonymous.invalid"), 1, []string{"SIP/2.0 433 "}},
		{"no user", usual, replaced(text, "MESSAGE sip:juliet@", "MESSAGE sip:"), 1, []string{"SIP/2.0 404 "}},
		{"address", usual, replaced(text, "MESSAGE sip:juliet@example.com", "MESSAGE sip:192.0.2.1"), 0, []string{"to='juliet@example.com'"}},
		{"OPTIONS", usual, replaced(replaced(text, "MESSAGE sip", "OPTIONS sip"), "1 MESSAGE", "1 OPTIONS"), 0, []string{"# nothing crosses: "}},

		{"message", usual, stanza, 0, []string{"# to example.net, over SIP\nMESSAGE sip:romeo@example.net SIP/2.0\n", "From: <sip:juliet@example.com;gr=b>;tag=", "\n\nArt thou not Romeo?\n"}},
		{"to the gateway name", gateway, replaced(stanza, "romeo@example.net", `romeo\40example.net@sip.example.com`), 0, []string{"MESSAGE sip:romeo@example.net SIP/2.0"}},
		{"size", small, stanza, 1, []string{"<message from='romeo@example.net' to='juliet@example.com/b' id='j1' type='error'>", "policy-violation", "# refused: "}},
		{"encrypted", usual, encrypted, 1, []string{"not-acceptable"}},
		{"encrypted, but", fallback, encrypted, 0, []string{"Art thou"}},
		{"groupchat", usual, replaced(stanza, "id='j1'", "id='j1' type='groupchat'"), 1, []string{"service-unavailable", "# refused: there are no rooms here"}},
		{"to a domain", usual, replaced(stanza, "romeo@", ""), 1, []string{"service-unavailable"}},
		{"presence", usual, "<presence from='juliet@example.com/b' to='romeo@example.net'/>", 0, []string{"# nothing crosses: "}},

		{"404", usual, response, 0, []string{"<message from='romeo@example.net' to='juliet@example.com/b' id='message' type='error'>", "item-not-found"}},
		{"404 to a gateway name", gateway, response, 0, []string{`from='romeo\40example.net@sip.example.com'`}},
		{"200", usual, replaced(response, "404 Not Found", "200 OK"), 0, []string{"# delivered"}},
		{"100", usual, replaced(response, "404 Not Found", "100 Trying"), 0, []string{"# nothing crosses: "}},
		{"error", usual, bounce, 0, []string{"SIP/2.0 604 ", "# refused: item-not-found"}},
		{"error as 4xx", four, bounce, 0, []string{"SIP/2.0 404 "}},

		{"response to INVITE", usual, replaced(response, "1 MESSAGE", "1 INVITE"), 2, []string{"-: the answer to INVITE"}},
		{"empty", usual, " \n", 2, []string{"-: there is nothing in it"}},
		{"neither", usual, "Hark", 2, []string{"-: not a SIP message"}},
		{"too much", usual, text + strings.Repeat(" ", maxInput), 2, []string{"-: over 1048576 bytes"}},
		{"XML", usual, "<message>", 2, []string{"-: not XML"}},
		{"client's", usual, replaced(stanza, "<message", "<message xmlns='jabber:client'"), 2, []string{"jabber:client"}},
		{"no stanza", usual, "<body/>", 2, []string{"-: body is no stanza"}},
		{"nameless", usual, "<message><body>Hark</body></message>", 2, []string{"from and to"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.m.run(tt.in)
			rest := got
			for _, want := range append(tt.want, fmt.Sprintf("== exit %d\n", tt.code)) {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Fatalf("%q is not there, or not in its place:\n%s", want, got)
				}
				rest = after
			}
		})
	}
}

// TestMapIsTrue: what map says is what the gateway does, both ways and with
// refusals.
func TestMapIsTrue(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := must(gatewaytest.NewWorld(t.Context(), gatewaytest.Options{}))(t)
	defer w.Close()
	for _, tt := range []struct{ name, from, to, media, body string }{
		{"text", "romeo", "juliet", "text/plain", "Neither, fair saint, if either thee dislike."},
		{"html", "romeo", "juliet", "text/html", "<p>Neither, <b>fair</b> saint</p>"},
		{"type", "romeo", "juliet", "application/json", "{}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := replaced(replaced(replaced(text, "text/plain", tt.media), "Content-Length: 44", fmt.Sprint("Content-Length: ", len(tt.body))),
				"Neither, fair saint, if either thee dislike.", tt.body)
			in = replaced(in, "9E97FB43", tt.name) // else it would be the same request again
			msg := must(sipx.Parser(maxInput).ParseSIP(wire([]byte(in))))(t)
			req := msg.(*sip.Request)
			said := usual.run(in)
			req.RemoveHeader("Via") // the server's own stands there
			res := must(w.SIP.Send(req))(t)
			if want := fmt.Sprintf("SIP/2.0 %d %s\n", res.StatusCode, res.Reason); !strings.Contains(said, want) {
				t.Errorf("the gateway answers %s map says\n%s", want, said)
			}
			if res.StatusCode >= 300 {
				return
			}
			got := nameless(string((<-w.XMPP.Stanzas).Append(nil, xep.NS)))
			if !strings.Contains(nameless(said), got+"\n") {
				t.Errorf("the gateway sends\n%s\nmap says\n%s", got, said)
			}
		})
	}
	t.Run("to SIP", func(t *testing.T) {
		if err := w.XMPP.Send(must(xmltree.ParseIn([]byte(stanza), xep.NS, xmltree.Documents))(t)); err != nil {
			t.Fatal(err)
		}
		req := <-w.SIP.Requests
		said, err := usual.convert([]byte(stanza), dawn)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{
			req.StartLine(), "\nVia: SIP/2.0/TLS gateway.invalid:5061;branch=z9hG4bK", "\nUser-Agent: cpimgate/", req.From().Name() + ": <" + req.From().Address.String() + ">;tag=", req.To().String(), "Content-Type: " + sipx.Value(req, "Content-Type"),
			fmt.Sprint("Content-Length: ", len(req.Body())), "CSeq: " + req.CSeq().Value(), "\n" + string(req.Body()) + "\n",
		} {
			if !strings.Contains(said, line) {
				t.Errorf("the gateway sends %q, map says\n%s", line, said)
			}
		}
	})
}

var names = regexp.MustCompile(` id='[0-9a-f]{26}'`)

// nameless takes the ids out of stanzas.
func nameless(s string) string { return names.ReplaceAllString(s, "") }

// TestMapFile: files are read, and one that is not there is the caller's
// mistake.
func TestMapFile(t *testing.T) {
	m := usual
	m.File = filepath.Join(t.TempDir(), "message.sip")
	if err := m.Run(); statusOf(err) != wrongUsage {
		t.Error(err)
	}
	if err := os.WriteFile(m.File, []byte("Hark"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Run(); statusOf(err) != wrongUsage || !strings.Contains(err.Error(), m.File) {
		t.Error(err)
	}
}

// FuzzMap: whatever the file holds, map says something, gives a terminal no
// orders and ends with one of its statuses.
func FuzzMap(f *testing.F) {
	for _, kind := range []string{"sip", "xmpp"} {
		for _, seed := range testdata.Seeds(kind) {
			f.Add([]byte(seed), false)
		}
	}
	for _, seed := range []string{text, stanza, response, bounce} {
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, gateway bool) {
		m := usual
		if gateway {
			m.Gateway = "example.net"
		}
		text, err := m.convert(bytes.Clone(in), dawn)
		e, ok := errors.AsType[exit](err)
		switch {
		case err == nil && text == "", ok && e.code == 1 && text == "":
			t.Fatal("nothing is said")
		case err != nil && (!ok || e.code == wrongUsage && e.err == nil || e.code > wrongUsage):
			t.Fatalf("%#v", err)
		}
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }); i >= 0 {
			t.Errorf("%q", text[i:])
		}
	})
}
