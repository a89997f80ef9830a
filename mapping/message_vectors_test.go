package mapping

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim"
	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/testdata"
)

// parseMessage reads a message stanza without its content namespace.
func parseMessage(t testing.TB, text string) *xep.Message {
	t.Helper()
	m, err := xep.ParseMessage(parseStanza(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// uriOf is ToURI for an address that has one.
func uriOf(t testing.TB, j jid.JID) sip.Uri {
	t.Helper()
	u, err := ToURI(j)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// toSIP maps m with its own addresses; the Call-ID is the thread's.
func toSIP(t testing.TB, m *xep.Message, o SIPOptions) (*sip.Request, error) {
	t.Helper()
	if id, ok := CallIDOf(m.Thread); ok && o.CallID == "" {
		o.CallID = id
	}
	return MessageToSIP(m, uriOf(t, m.From), uriOf(t, m.To), o)
}

// transact gives a request what its transaction does, as the model has it.
func transact(req *sip.Request, model sip.Message) {
	req.PrependHeader(model.GetHeaders("Via")...)
	req.AppendHeader(model.GetHeaders("Max-Forwards")[0])
	req.AppendHeader(model.GetHeaders("CSeq")[0])
	if tag, ok := model.From().Params.Get("tag"); ok {
		req.From().Params.Add("tag", tag)
	}
	if req.CallID() == nil {
		id := *model.CallID()
		req.AppendHeader(&id)
	}
}

// partiesOf maps From and Request-URI of a MESSAGE.
func partiesOf(t testing.TB, req *sip.Request) (from, to jid.JID) {
	t.Helper()
	from, err := ToJID(WithGRUU(req.From().Address, req.From().Params))
	if err != nil {
		t.Fatal(err)
	}
	if to, err = ToJID(req.Recipient); err != nil {
		t.Fatal(err)
	}
	return from, to
}

// toXMPP maps a MESSAGE between its own addresses.
func toXMPP(t testing.TB, req *sip.Request, o XMPPOptions) (*Incoming, error) {
	t.Helper()
	from, to := partiesOf(t, req)
	return MessageToXMPP(req, from, to, o)
}

// equalStanza compares a stanza with the one that a vector expects, as
// documents. The id is never the vector's business, nor origin-id.
func equalStanza(t testing.TB, got *xep.Message, want string) {
	t.Helper()
	if got == nil {
		t.Fatal("no stanza")
	}
	w := parseStanza(t, want)
	for i, a := range w.Attr {
		if a.Name.Local == "id" {
			w.Attr = slices.Delete(w.Attr, i, i+1)
			break
		}
	}
	g := *got
	g.ID, g.OriginID = "", ""
	testdata.EqualText(t, outline(g.Element()), outline(w))
}

// TestMessageToSIPVectors are RFC 7572's and 3923's messages to SIP.
func TestMessageToSIPVectors(t *testing.T) {
	play := func(t *testing.T, c *testdata.Case) {
		m := parseMessage(t, c.Text("in.xmpp"))
		want := parseSIP(t, c.Wire("out.sip")).(*sip.Request)
		c.Vary("Via", "From: tag", "Call-ID", "Call-ID unless given by thread", "CSeq: number", "Max-Forwards",
			"header order", "charset parameter of Content-Type")
		kind, err := KindOf(m, TextOptions{})
		if err != nil || kind != Content {
			t.Errorf("kind is %v, %v", kind, err)
		}
		req, err := toSIP(t, m, SIPOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if (req.CallID() != nil) != (m.Thread != "") {
			t.Errorf("Call-ID is %v for thread %q", req.CallID(), m.Thread)
		}
		transact(req, want)
		got := strings.Replace(headerLines(req), ";charset=UTF-8", "", 1)
		testdata.EqualText(t, got, headerLines(want))
		if want.ContentLength() == nil || int(*want.ContentLength()) != len(want.Body()) {
			t.Errorf("the vector says %v of %d bytes", want.ContentLength(), len(want.Body()))
		}
	}
	testdata.Vectors(t, "rfc7572", "ex01-02-message", play)
	testdata.Vectors(t, "rfc7572", "table1-all-fields", play)
	testdata.Vectors(t, "rfc3923", "ex3-signed-message", play)
}

// TestResponseConsumed is RFC 7572, example 3: a 200 has no image, and the
// message that it answers asked for nothing that SIP could be asked for.
func TestResponseConsumed(t *testing.T) {
	testdata.Vectors(t, "rfc7572", "ex03-200-consumed", func(t *testing.T, c *testdata.Case) {
		if none := c.Lines("out.none"); !slices.Equal(none, []string{"xmpp"}) {
			t.Fatalf("out.none is %v", none)
		}
		req, err := toSIP(t, parseMessage(t, c.Text("context.xmpp")), SIPOptions{MessageID: "m"})
		if err != nil {
			t.Fatal(err)
		}
		res := parseSIP(t, c.Wire("in.sip")).(*sip.Response)
		if !res.IsSuccess() || res.From().Address.String() != req.From().Address.String() {
			t.Errorf("%s answers %s", res, req)
		}
		if ct := sipx.Value(req, "Content-Type"); !strings.HasPrefix(ct, "text/plain") {
			t.Errorf("a receipt was asked for in %s", ct)
		}
	})
}

// TestSize is RFC 7572, section 6: 1300 bytes pass, 1301 do not.
func TestSize(t *testing.T) {
	testdata.Vectors(t, "rfc7572", "size-1301-refused", func(t *testing.T, c *testdata.Case) {
		if !c.Says("total size of the SIP request would be 1301 bytes; peer not known to take MSRP") {
			t.Error("another context")
		}
		const filler = "@REPEAT x UNTIL 1301@"
		stanza := c.Text("in.xmpp")
		model := parseSIP(t, "MESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TLS x2s.example.com:5061;branch=z9hG4bK776sgdkse\r\n"+
			"Max-Forwards: 70\r\nFrom: <sip:c@d>;tag=12345\r\nTo: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n")
		sized := func(n int) (*xep.Message, *sip.Request) {
			m := parseMessage(t, strings.Replace(stanza, filler, strings.Repeat("x", n), 1))
			req, err := toSIP(t, m, SIPOptions{})
			if err != nil {
				t.Fatal(err)
			}
			transact(req, model)
			return m, req
		}
		_, empty := sized(100)
		m, req := sized(1301 - Size(empty) + 100 + 1) // Content-Length has a digit more
		if n := Size(req); n != 1301 {
			req.SetBody(req.Body()[:len(req.Body())-(n-1301)])
		}
		if n := Size(req); n != 1301 {
			t.Fatalf("the request has %d bytes", n)
		}
		err := CheckSize(Size(req), MaxMessage)
		x := FaultToXMPP(err, "example.net")
		if fault.KindOf(err) != fault.TooLarge {
			t.Fatalf("1301 bytes: %v", err)
		}
		got := xep.ErrorStanza(m.Header(), &xep.Error{Type: x.Type, Condition: x.Condition})
		testdata.EqualText(t, outline(got), outline(parseStanza(t, c.Text("out.xmpp"))))
		c.Vary("error text", "by attribute")
		c.Lines("out.none")
		req.SetBody(req.Body()[1:])
		if err := CheckSize(Size(req), MaxMessage); err != nil || Size(req) != 1300 {
			t.Errorf("%d bytes: %v", Size(req), err)
		}
		if err := CheckSize(Size(req), 0); err != nil {
			t.Errorf("no limit: %v", err)
		}
	})
}

// TestMessageToXMPPVectors are RFC 7572's messages to XMPP. The answer that
// the vectors show is the caller's; here the mapping accepts.
func TestMessageToXMPPVectors(t *testing.T) {
	play := func(t *testing.T, c *testdata.Case) {
		req := parseSIP(t, c.Wire("in.sip")).(*sip.Request)
		in, err := toXMPP(t, req, XMPPOptions{ID: "m1"})
		if err != nil {
			t.Fatal(err)
		}
		c.Vary("xmpp id", "order of child elements", "origin-id", "To: tag", "type attribute absent or normal",
			"nick element on first contact", "white space in XHTML", "html element absent when XHTML-IM is switched off")
		equalStanza(t, in.Stanza, c.Text("out.1.xmpp"))
		if in.Stanza.ID != "m1" || in.Stanza.OriginID != "m1" {
			t.Errorf("id is %q, origin-id %q", in.Stanza.ID, in.Stanza.OriginID)
		}
		if c.Has("out.2.sip") {
			res := parseSIP(t, c.Wire("out.2.sip")).(*sip.Response)
			if res.StatusCode != sip.StatusOK || len(res.Body()) != 0 {
				t.Errorf("the vector answers %d", res.StatusCode)
			}
		}
	}
	for _, name := range []string{"ex04-05-message", "ex06-07-language", "html", "table2-all-fields"} {
		testdata.Vectors(t, "rfc7572", name, play)
	}
}

// TestUnsupportedType: an unknown type is 415 with Accept (RFC 7572, section 7).
func TestUnsupportedType(t *testing.T) {
	testdata.Vectors(t, "rfc7572", "unsupported-type", func(t *testing.T, c *testdata.Case) {
		req := parseSIP(t, c.Wire("in.sip")).(*sip.Request)
		want := parseSIP(t, c.Wire("out.sip")).(*sip.Response)
		in, err := toXMPP(t, req, XMPPOptions{})
		if in != nil {
			t.Errorf("mapped to %+v", in)
		}
		c.Lines("out.none")
		c.Vary("To: tag", "Accept: order and additions")
		status, _, fields := FaultToSIP(err)
		if status != want.StatusCode || len(fields) != 1 || fields[0].Name() != "Accept" {
			t.Fatalf("answered %d with %v", status, fields)
		}
		for typ := range strings.SplitSeq(sipx.Value(want, "Accept"), ", ") {
			if !slices.Contains(strings.Split(fields[0].Value(), ", "), typ) {
				t.Errorf("Accept lacks %s", typ)
			}
		}
	})
}

// carrying makes the MESSAGE that carries a CPIM object from its From.
func carrying(t testing.TB, entity string) *sip.Request {
	t.Helper()
	p := cpim.ParsePart([]byte(entity))
	from, to := "sip:a@example.com", "sip:b@example.com"
	if c, err := cpim.Parse(p.Body); err == nil {
		from, to = sipForm(t, c.From.URI), sipForm(t, c.To[0].URI)
	}
	return messageOf(t, from, to, p.Header.Get("Content-Type"), string(p.Body))
}

func sipForm(t testing.TB, uri string) string {
	t.Helper()
	j, err := jidOf(uri, "example.com")
	if err != nil {
		t.Fatal(err)
	}
	u := uriOf(t, j)
	return u.String()
}

// messageOf makes a MESSAGE as it is on the wire, with further header fields.
func messageOf(t testing.TB, from, to, contentType, body string, fields ...string) *sip.Request {
	t.Helper()
	head := "MESSAGE " + to + " SIP/2.0\r\nVia: SIP/2.0/TLS proxy.example.net:5061;branch=z9hG4bKeskdgs677\r\nMax-Forwards: 70\r\n" +
		"To: <" + to + ">\r\nFrom: <" + from + ">;tag=vwxyz\r\nCall-ID: c1\r\nCSeq: 1 MESSAGE\r\n"
	if contentType != "" {
		head += "Content-Type: " + contentType + "\r\n"
	}
	for _, f := range fields {
		head += f + "\r\n"
	}
	return parseSIP(t, head+"Content-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body).(*sip.Request)
}

// TestCPIMVectors are the objects of RFC 3862, and the rules of RFC 3922,
// section 4.2: what comes out on the other side, or with which status none
// does.
func TestCPIMVectors(t *testing.T) {
	play := func(t *testing.T, c *testdata.Case) {
		kind := "in.cpim"
		if c.Has("in.mime") {
			kind = "in.mime"
		}
		req := carrying(t, c.Wire(kind))
		if from := c.Value("SIP From"); from != "" {
			req = messageOf(t, strings.Trim(from, "<>"), c.Value("Request-URI"), sipx.Value(req, "Content-Type"), string(req.Body()))
		}
		c.Vary("xmpp id", "xmpp id (Content-ID optional)", "xmpp id (use of the Content-ID is OPTIONAL)", "origin-id", "delay element",
			"delay element if the time is older than 60 s (D-12)", "to may be bare",
			"leading and trailing line end of the CDATA section")
		c.Value("resource of juliet in use") // which we do not know
		in, err := toXMPP(t, req, XMPPOptions{ID: "x"})
		if c.Has("out.error") {
			status, _, _ := FaultToSIP(err)
			if want := c.Text("out.error"); fmt.Sprintln(status) != want || in != nil {
				t.Errorf("status %d (%v), want %s", status, err, want)
			}
			c.Lines("out.none")
		} else if err != nil {
			t.Fatal(err)
		}
		if c.Has("out.xmpp") {
			equalCPIM(t, in.Stanza, c.Text("out.xmpp"))
		}
		if c.Has("out.parse") { // the parser's; of it, subjects and text come through
			equalFacts(t, in, c.Lines("out.parse"))
		}
	}
	testdata.Vectors(t, "rfc3862", "*", play)
	testdata.Vectors(t, "rfc3922", "msg-c2x-*", play)
}

// equalCPIM is equalStanza for a vector that starts from the object and so
// knows no Call-ID. A resource in to is the recipient's server to choose.
func equalCPIM(t *testing.T, got *xep.Message, want string) {
	t.Helper()
	if got == nil {
		t.Fatal("no stanza")
	}
	if got.Thread != "c1" {
		t.Errorf("thread is %q", got.Thread)
	}
	g := *got
	g.Thread, g.Delay = "", nil
	g.E2E = strings.Trim(g.E2E, "\n")
	w := parseMessage(t, want)
	w.E2E, w.To = strings.Trim(w.E2E, "\n"), w.To.Bare()
	equalStanza(t, &g, w.Element().String())
}

// equalFacts checks the facts about an object that the stanza shows.
func equalFacts(t *testing.T, in *Incoming, facts []string) {
	t.Helper()
	for _, fact := range facts {
		name, value, _ := strings.Cut(fact, ": ")
		if in == nil || name != "Subject" && name != "content" {
			continue
		}
		value = strings.NewReplacer("<LF>", " ", "<TAB>", "\t", "<U+0007, U+FFFD in XML>", "\uFFFD").Replace(value)
		var got string
		if name == "Subject" {
			got = in.Stanza.Element().Child(xep.NS, "subject").Text()
		} else {
			got = in.Stanza.Bodies[0].Value
		}
		if got := strings.ReplaceAll(got, "\a", "\uFFFD"); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
}

// TestToCPIMVectors are RFC 3922, section 4.1.
func TestToCPIMVectors(t *testing.T) {
	testdata.Vectors(t, "rfc3922", "msg-x2c-*", func(t *testing.T, c *testdata.Case) {
		m := parseMessage(t, c.Text("in.xmpp"))
		m.Nick = c.Value("formal name of sender")
		from, err := ToURIScheme(m.From.Bare(), "im")
		if err != nil {
			t.Fatal(err)
		}
		to, err := ToURIScheme(m.To.Bare(), "im")
		if err != nil {
			t.Fatal(err)
		}
		text, err := TextToSIP(m, TextOptions{})
		if err != nil {
			t.Fatal(err)
		}
		object, err := MessageToCPIM(m, from, to, part("text/plain; charset=utf-8", text.Value), SIPOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c.Vary("DateTime header", "formal names", "sip: instead of im: inside SIP/MSRP (interworking.md D-06)", "thread, id", "Content-ID")
		want := c.Wire("out.cpim")
		if name := c.Value("formal name of recipient"); name != "" {
			want = strings.Replace(want, "To: "+name+" <", "To: <", 1) // "formal names": we know that of the sender only
		}
		_, want, _ = strings.Cut(want, "\r\n\r\n") // the outer Content-type
		testdata.EqualText(t, string(object), strings.Replace(want, "Content-type", "Content-Type", 1))
	})
}

// TestFlow is RFC 3428, section 10: the request as sent and as the proxy
// passed it on mean the same. Its Call-ID says where the sender is, and is no
// thread.
func TestFlow(t *testing.T) {
	testdata.Vectors(t, "rfc3428", "flow", func(t *testing.T, c *testdata.Case) {
		for _, key := range []string{"id", "source", "convention", "note"} {
			c.Value(key)
		}
		for _, name := range []string{"F1-message.sip", "F2-message.sip"} {
			in, err := toXMPP(t, parseSIP(t, c.Wire(name)).(*sip.Request), XMPPOptions{ID: "m1"})
			if err != nil {
				t.Fatal(err)
			}
			equalStanza(t, in.Stanza, `<message from='user1@domain.com' to='user2@domain.com'><body>Watson, come here.</body></message>`)
		}
		for _, name := range []string{"F3-200.sip", "F4-200.sip"} {
			if res := parseSIP(t, c.Wire(name)).(*sip.Response); res.StatusCode != sip.StatusOK {
				t.Errorf("%s answers %d", name, res.StatusCode)
			}
		}
	})
}
