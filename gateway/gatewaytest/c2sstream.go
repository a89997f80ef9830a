package gatewaytest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"mellium.im/xmpp/jid"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
)

// Deadlines of a client's connection.
const (
	loginTime = 20 * time.Second // from the first byte to the bound resource
	idleTime  = time.Hour
	writeTime = 2 * time.Second // whoever writes to a client waits for it
)

const (
	nsClient = "jabber:client"
	nsStream = "http://etherx.jabber.org/streams"
	nsTLS    = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL   = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBind   = "urn:ietf:params:xml:ns:xmpp-bind"
)

// clientLimits bound one element of a client.
var clientLimits = xmltree.Limits{Bytes: 64 << 10, Depth: 20, Attributes: 50, Children: 1000}

// A session is one client's connection, with the streams that follow one
// another on it. Inside, its stanzas have the namespace of servers.
type session struct {
	c    *c2s
	raw  net.Conn
	nc   net.Conn // raw, or TLS over it
	in   *bufio.Reader
	xml  *xmltree.Reader
	tls  bool
	user jid.JID // bare; zero before SASL
	full jid.JID // zero before it is bound

	available bool // c.mu

	mu     sync.Mutex // writes
	closed bool
}

func newSession(c *c2s, nc net.Conn) *session {
	return &session{c: c, raw: nc, nc: nc, in: bufio.NewReader(nc)}
}

// errRestart says that a new stream follows (RFC 6120, section 4.3.3).
var errRestart = errors.New("stream restart")

// run is the life of a connection.
func (s *session) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { s.end("system-shutdown") })
	defer stop()
	_ = s.raw.SetDeadline(time.Now().Add(loginTime))
	err := errRestart
	for err == errRestart {
		err = s.stream(ctx)
	}
	if s.bound() {
		s.c.unbind(s)
	}
	condition := ""
	if bad, ok := errors.AsType[*xmltree.Error](err); ok {
		condition = string(bad.Condition)
	} else if bad, ok := errors.AsType[streamError](err); ok {
		condition = string(bad)
	}
	s.end(condition)
}

// A streamError is a condition of RFC 6120, section 4.9.3.
type streamError string

func (e streamError) Error() string { return string(e) }

func (s *session) bound() bool { return !s.full.Equal(jid.JID{}) }

// stream serves one stream.
func (s *session) stream(ctx context.Context) error {
	s.xml = xmltree.NewReader(s.in, clientLimits)
	h, err := s.xml.Open()
	if err != nil {
		return err
	}
	if err := s.write([]byte("<?xml version='1.0'?><stream:stream xmlns='" + nsClient + "' xmlns:stream='" + nsStream +
		"' from='" + s.c.d.Domain + "' id='" + rand.Text() + "' version='1.0' xml:lang='en'>")); err != nil {
		return err
	}
	switch {
	case !h.Is(nsStream, "stream"):
		return streamError("invalid-namespace")
	case h.Get("to") != s.c.d.Domain:
		return streamError("host-unknown")
	}
	if err := s.write([]byte("<stream:features>" + s.features() + "</stream:features>")); err != nil {
		return err
	}
	for {
		e, err := s.xml.Next()
		if err != nil {
			return err
		}
		if err := s.take(ctx, e); err != nil {
			return err
		}
	}
}

// features are what may come next.
func (s *session) features() string {
	switch {
	case !s.user.Equal(jid.JID{}):
		return "<bind xmlns='" + nsBind + "'/><session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>"
	case s.tls:
		return "<mechanisms xmlns='" + nsSASL + "'><mechanism>PLAIN</mechanism></mechanisms>"
	}
	return "<starttls xmlns='" + nsTLS + "'/><mechanisms xmlns='" + nsSASL + "'><mechanism>PLAIN</mechanism></mechanisms>"
}

// take does what one element asks for.
func (s *session) take(ctx context.Context, e *xmltree.Element) error {
	switch {
	case s.bound():
		_ = s.raw.SetReadDeadline(time.Now().Add(idleTime))
		return s.stanza(e)
	case !s.user.Equal(jid.JID{}):
		return s.bind(e)
	case e.Is(nsTLS, "starttls") && !s.tls:
		return s.startTLS(ctx)
	case e.Is(nsSASL, "auth"):
		return s.auth(e)
	}
	return streamError("not-authorized")
}

// startTLS is RFC 6120, section 5.4.
func (s *session) startTLS(ctx context.Context) error {
	if err := s.write([]byte("<proceed xmlns='" + nsTLS + "'/>")); err != nil {
		return err
	}
	_ = s.raw.SetDeadline(time.Now().Add(loginTime))
	conn := tls.Server(s.raw, s.c.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.nc = conn
	s.mu.Unlock()
	s.tls = true
	s.in.Reset(conn)
	return errRestart
}

// auth takes PLAIN with any password (RFC 4616).
func (s *session) auth(e *xmltree.Element) error {
	refuse := func(condition string) error {
		_ = s.write([]byte("<failure xmlns='" + nsSASL + "'><" + condition + "/></failure>"))
		return errClosed
	}
	if e.Get("mechanism") != "PLAIN" {
		return refuse("invalid-mechanism")
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(e.Text()))
	parts := bytes.Split(b, []byte{0})
	if err != nil || len(parts) != 3 {
		return refuse("malformed-request")
	}
	user, err := jid.New(string(parts[1]), s.c.d.Domain, "")
	if err != nil || user.Localpart() == "" {
		return refuse("not-authorized")
	}
	if err := s.write([]byte("<success xmlns='" + nsSASL + "'/>")); err != nil {
		return err
	}
	s.user = user
	return errRestart
}

// bind is RFC 6120, section 7.
func (s *session) bind(e *xmltree.Element) error {
	toServer(e)
	ask := e.Child(nsBind, "bind")
	if !e.Is(xep.NS, "iq") || e.Get("type") != "set" || ask == nil {
		return streamError("not-authorized")
	}
	resource := rand.Text()
	if r := ask.Child(nsBind, "resource"); r != nil && r.Text() != "" {
		resource = r.Text()
	}
	full, err := s.user.WithResource(resource)
	if err != nil {
		return streamError("invalid-xml")
	}
	s.full = full
	_ = s.raw.SetDeadline(time.Now().Add(idleTime))
	s.send(answer(e, xmltree.New(nsBind, "bind", xmltree.New(nsBind, "jid", xmltree.Text(full.String())))))
	s.c.bind(s, full)
	return nil
}

// stanza takes a stanza of the user, who is who we know that he is (RFC 6120,
// section 8.1.2.1).
func (s *session) stanza(e *xmltree.Element) error {
	toServer(e)
	if e.Name.Space != xep.NS {
		return streamError("unsupported-stanza-type")
	}
	set(e, "from", s.full.String())
	h, err := xep.HeaderOf(e)
	if err != nil {
		h = xep.Header{Name: e.Name.Local, To: s.full, ID: e.Get("id")}
		h.From, h.To = s.full, s.user
		s.send(xep.ErrorStanza(h, &xep.Error{Type: "modify", Condition: "jid-malformed"}))
		return nil
	}
	switch e.Name.Local {
	case "iq":
		s.c.iq(s, e, h)
	case "presence": // to others: there is nobody who would be told
		if e.Get("to") == "" && (h.Type == "" || h.Type == "unavailable") {
			s.c.show(s, e)
		}
	case "message":
		if e.Get("to") == "" { // RFC 6121, section 8.1
			set(e, "to", s.user.String())
			h.To = s.user
		}
		s.c.message(e, h)
	default:
		return streamError("unsupported-stanza-type")
	}
	return nil
}

// send writes a stanza to the client and reports whether it went out. A client
// that does not read is gone.
func (s *session) send(e *xmltree.Element) bool {
	if e == nil {
		return true
	}
	return s.write(e.Append(nil, xep.NS)) == nil
}

func (s *session) write(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	_ = s.raw.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := s.nc.Write(b)
	if err != nil {
		s.closed = true
		_ = s.raw.Close()
	}
	return err
}

// end closes the stream, with a condition if something is wrong (RFC 6120,
// section 4.9).
func (s *session) end(condition string) {
	last := "</stream:stream>"
	if condition != "" {
		last = "<stream:error><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>" + last
	}
	_ = s.write([]byte(last)) // as far as it goes
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	_ = s.raw.Close()
}

// toServer gives a stanza and its own children the namespace that they have
// between servers.
func toServer(e *xmltree.Element) {
	if e.Name.Space == nsClient {
		e.Name.Space = xep.NS
	}
	for c := range e.Elements() {
		toServer(c)
	}
}

// set sets an attribute.
func set(e *xmltree.Element, name, value string) {
	for i, a := range e.Attr {
		if a.Name == (xml.Name{Local: name}) {
			e.Attr[i].Value = value
			return
		}
	}
	e.With(name, value)
}
