package gatewaytest

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/testdata"
)

// clients returns a world whose domains take clients.
func clients(t *testing.T) *World {
	t.Helper()
	return world(t, Options{SIPClients: "127.0.0.1:0", XMPPClients: "127.0.0.1:0"})
}

// A phone is a SIP client that a test speaks for.
type phone struct {
	t     *testing.T
	conn  net.Conn
	user  string
	calls int
}

func newPhone(t *testing.T, w *World, network, user string) *phone {
	t.Helper()
	conn, err := net.Dial(network, w.SIP.Clients)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &phone{t: t, conn: conn, user: user}
}

// send sends a request with a body of text.
func (p *phone) send(method, uri, to, fields, body string) {
	p.t.Helper()
	p.calls++
	text := fmt.Sprintf(`%[1]s %[2]s SIP/2.0
Via: SIP/2.0/%[3]s %[4]s;branch=z9hG4bK%[5]s%[6]d;rport
Max-Forwards: 70
From: <sip:%[5]s@example.net>;tag=%[6]d
To: <%[7]s>
Call-ID: %[5]s-%[6]d
CSeq: %[6]d %[1]s
Route: <sip:%[8]s;lr>
%[9]sContent-Length: %[10]d

`, method, uri, strings.ToUpper(p.conn.LocalAddr().Network()), p.conn.LocalAddr(), p.user, p.calls, to, p.conn.RemoteAddr(), fields, len(body))
	if _, err := p.conn.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n") + body)); err != nil {
		p.t.Fatal(err)
	}
}

// receive returns the next message.
func (p *phone) receive() sip.Message {
	p.t.Helper()
	b := make([]byte, 1<<16)
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		n, err := p.conn.Read(b)
		if err != nil {
			p.t.Fatalf("%s: %v", p.user, err)
		}
		msg, err := sipx.Parser(1 << 16).ParseSIP(b[:n])
		if err != nil {
			p.t.Fatalf("%s: %v\n%s", p.user, err, b[:n])
		}
		if res, ok := msg.(*sip.Response); !ok || !res.IsProvisional() {
			return msg
		}
	}
}

func (p *phone) answered(want int) {
	p.t.Helper()
	if res, ok := p.receive().(*sip.Response); !ok || res.StatusCode != want {
		p.t.Errorf("%s is answered %v, want %d", p.user, res, want)
	}
}

// register registers for as long as expires says. Over TCP the contact is the
// listener's address.
func (p *phone) register(contact, expires string) {
	p.t.Helper()
	p.send("REGISTER", "sip:example.net", "sip:"+p.user+"@example.net", "Contact: <sip:"+p.user+"@"+contact+">;expires="+expires+"\n", "")
	p.answered(200)
}

// hears takes a MESSAGE with this text, and answers it.
func (p *phone) hears(from, text string) {
	p.t.Helper()
	req, ok := p.receive().(*sip.Request)
	if !ok || string(req.Body()) != text || req.From().Address.Addr() != "sip:"+from {
		p.t.Fatalf("%s received %v, want %q from %s", p.user, req, text, from)
	}
	if _, err := p.conn.Write([]byte(sip.NewResponseFromRequest(req, 200, "OK", nil).String())); err != nil {
		p.t.Fatal(err)
	}
}

const plain = "Content-Type: text/plain\n"

// TestSIPClients: clients of the small SIP domain write to each other and
// across the border, and are found there.
func TestSIPClients(t *testing.T) {
	w := clients(t)
	tybalt, nurse := newPhone(t, w, "udp", "tybalt"), newPhone(t, w, "tcp", "nurse")
	tybalt.register(tybalt.conn.LocalAddr().String(), "60")

	nurse.send("MESSAGE", "sip:tybalt@example.net", "sip:tybalt@example.net", plain, "God save you")
	tybalt.hears("nurse@example.net", "God save you")
	nurse.answered(200)

	tybalt.send("MESSAGE", "sip:juliet@example.com", "sip:juliet@example.com", plain, "across")
	tybalt.answered(200)
	if e := <-w.XMPP.Stanzas; !strings.Contains(e.String(), "across") || e.Get("from") != "tybalt@example.net" {
		t.Errorf("juliet received %s", e)
	}
	if err := w.XMPP.Write("juliet", "tybalt@example.net", "j1", "and back"); err != nil {
		t.Fatal(err)
	}
	tybalt.hears("juliet@example.com", "and back")

	// over TCP the contact is where the client listens
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nurse.register(l.Addr().String()+";transport=tcp", "60")
	tybalt.send("MESSAGE", "sip:nurse@example.net", "sip:nurse@example.net", plain, "to you too")
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	(&phone{t: t, conn: conn, user: "nurse"}).hears("tybalt@example.net", "to you too")
	tybalt.answered(200)

	tybalt.register(tybalt.conn.LocalAddr().String(), "0")
	for to, want := range map[string]int{
		"tybalt@example.net":   480, // gone
		"nobody@example.net":   404,
		"nobody@example.com":   403,
		"juliet@other.example": 404,
		"romeo@example.net":    200, // played by us
	} {
		nurse.send("MESSAGE", "sip:"+to, "sip:"+to, plain, "Art thou there?")
		nurse.answered(want)
	}
	if req := <-w.SIP.Requests; string(req.Body()) != "Art thou there?" {
		t.Errorf("romeo received %s", req)
	}
}

// TestSIPClientsMayNot: nobody speaks for another domain.
func TestSIPClientsMayNot(t *testing.T) {
	w := clients(t)
	p := newPhone(t, w, "udp", "paris")
	text := testdata.CRLF(fmt.Sprintf(`MESSAGE sip:romeo@example.net SIP/2.0
Via: SIP/2.0/UDP %s;branch=z9hG4bKx;rport
Max-Forwards: 70
From: <sip:juliet@example.com>;tag=1
To: <sip:romeo@example.net>
Call-ID: x
CSeq: 1 MESSAGE
Content-Type: text/plain
Content-Length: 4

Fake`, p.conn.LocalAddr()))
	if _, err := p.conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	p.answered(403)
	if _, err := NewSIPDomain(Settings{Domain: "example.net", CA: w.CA, Resolver: w.Zone, Clients: "0.0.0.0:0"}); err == nil {
		t.Error("a door without a lock was opened to the world")
	}
}

// A program is an XMPP client that a test speaks for.
type program struct {
	t    *testing.T
	conn net.Conn
	got  string // and not looked at yet
}

// dialProgram connects and opens a stream.
func dialProgram(t *testing.T, w *World) *program {
	t.Helper()
	conn, err := net.Dial("tcp", w.XMPP.Clients)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := &program{t: t, conn: conn}
	p.open()
	return p
}

func (p *program) open() {
	p.t.Helper()
	p.send("<?xml version='1.0'?><stream:stream to='example.com' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>")
	p.await("</stream:features>")
}

func (p *program) send(text string) {
	p.t.Helper()
	if _, err := p.conn.Write([]byte(text)); err != nil {
		p.t.Fatal(err)
	}
}

// await reads until all of these were seen, in this order, and returns what
// was read.
func (p *program) await(want ...string) string {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 1<<16)
	seen := ""
	for _, s := range want {
		for !strings.Contains(p.got, s) {
			n, err := p.conn.Read(b)
			if err != nil {
				p.t.Fatalf("%q does not come: %v; after %s%s", s, err, seen, p.got)
			}
			p.got += string(b[:n])
		}
		before, after, _ := strings.Cut(p.got, s)
		seen, p.got = seen+before+s, after
	}
	return seen
}

// login makes the program that of a user, at a resource.
func (p *program) login(user, resource string) {
	p.t.Helper()
	plain := base64.StdEncoding.EncodeToString(bytes.Join([][]byte{nil, []byte(user), []byte("any")}, []byte{0}))
	p.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + plain + "</auth>")
	p.await("<success ")
	p.open()
	p.send("<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + resource + "</resource></bind></iq>")
	p.await("id='b1'", "<jid>"+user+"@example.com/"+resource+"</jid>")
	p.send("<presence/>")
	p.await("<presence from='" + user + "@example.com/" + resource + "'")
}

// TestXMPPClients: clients of the small XMPP domain write to each other and
// across the border, and are found there; requests are answered.
func TestXMPPClients(t *testing.T) {
	w := clients(t)
	nurse, tybalt := dialProgram(t, w), dialProgram(t, w)
	nurse.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	nurse.await("<proceed ", "/>")
	nurse.conn = tls.Client(nurse.conn, &tls.Config{RootCAs: w.CA.Pool(), ServerName: "example.com"})
	nurse.open()
	nurse.login("nurse", "kitchen")
	tybalt.login("tybalt", "street")

	nurse.send("<message to='tybalt@example.com' type='chat'><body>God save you</body></message>")
	tybalt.await("from='nurse@example.com/kitchen'", "God save you")
	nurse.send("<message to='romeo@example.net' from='fake@example.com' type='chat'><body>across</body></message>")
	if req := <-w.SIP.Requests; string(req.Body()) != "across" || req.From().Address.User != "nurse" {
		t.Errorf("romeo received %s", req)
	}
	if res, err := w.SIP.Write("romeo", "nurse@example.com", "and back"); err != nil || res.StatusCode != 200 {
		t.Errorf("romeo is answered %v, %v", res, err)
	}
	nurse.await("from='romeo@example.net'", "and back")

	for ask, want := range map[string]string{
		"<iq type='get' id='q1'><query xmlns='jabber:iq:roster'/></iq>":                                                                                       "<iq type='result' id='q1'",
		"<iq type='get' id='q2' to='example.com'><ping xmlns='urn:xmpp:ping'/></iq>":                                                                          "<iq type='result' id='q2'",
		"<iq type='get' id='q3' to='example.com'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>":                                                 "category='server'",
		"<iq type='set' id='q4'><query xmlns='jabber:iq:roster'><item jid='a@example.com'/></query></iq>":                                                     "service-unavailable",
		"<iq type='get' id='q5' to='romeo@example.net'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>":                                           "service-unavailable",
		"<message id='m1' to='nobody@example.com'><body>Art thou there?</body></message>":                                                                     "service-unavailable",
		"<message id='m2' to='nobody@example.net'><body>Art thou there?</body></message>":                                                                     "item-not-found",
		"<message id='m3' to='romeo@other.example'><body>Art thou there?</body></message>":                                                                    "remote-server-not-found",
		"<message id='m4' to='@'><body>Art thou there?</body></message>":                                                                                      "jid-malformed",
		"<message id='m5' to='juliet@example.com'><body>played by us</body></message><iq type='get' id='q6'><a/></iq>":                                        "id='q6'",
		"<presence type='unavailable'/><presence to='tybalt@example.com'/><iq type='set' id='q7'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>": "id='q7'",
	} {
		nurse.send(ask)
		nurse.await(want)
	}
	if e := <-w.XMPP.Stanzas; !strings.Contains(e.String(), "played by us") {
		t.Errorf("juliet received %s", e)
	}
	// she is unavailable now
	tybalt.send("<message id='t1' to='nurse@example.com'><body>Nurse?</body></message>")
	tybalt.await("id='t1'", "service-unavailable")

	again := dialProgram(t, w)
	again.login("tybalt", "street")
	tybalt.await("<conflict ", "</stream:stream>")
	again.send("</stream:stream>")
	again.await("</stream:stream>")
}

// TestXMPPClientsMayNot: what a client must not do ends its stream.
func TestXMPPClientsMayNot(t *testing.T) {
	w := clients(t)
	for name, tt := range map[string]struct {
		login bool
		text  string
		want  string
	}{
		"stanza before login": {false, "<message to='romeo@example.net'/>", "<not-authorized "},
		"other mechanism":     {false, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='X'>=</auth>", "<invalid-mechanism/>"},
		"no password":         {false, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>cm9tZW8=</auth>", "<malformed-request/>"},
		"no user":             {false, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AABh</auth>", "<not-authorized/>"},
		"not XML":             {true, "<message></presence>", "<not-well-formed "},
		"too large":           {true, "<message><body>" + strings.Repeat("a", 1<<17), "<policy-violation "},
		"not a stanza":        {true, "<massage/>", "<unsupported-stanza-type "},
		"other namespace":     {true, "<message xmlns='jabber:other'/>", "<unsupported-stanza-type "},
	} {
		t.Run(name, func(t *testing.T) {
			p := dialProgram(t, w)
			if tt.login {
				p.login("tybalt", "street")
			}
			p.send(tt.text)
			p.await(tt.want, "</stream:stream>")
		})
	}
	p := dialProgram(t, w)
	p.send("</stream:stream>")
	p.await("</stream:stream>")
}

// TestXMPPClientsLimit: there is room for so many and no more.
func TestXMPPClientsLimit(t *testing.T) {
	w := clients(t)
	for range maxClients {
		dialProgram(t, w)
	}
	conn, err := net.Dial("tcp", w.XMPP.Clients)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("one too many is served: %d, %v", n, err)
	}
}
