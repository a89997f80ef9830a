package s2s_test

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"cpimgate/federation/trust/trusttest"
)

// A raw peer says what no Server of ours would. It is one end of a connection,
// as client or, after accept, as server.
type raw struct {
	t  testing.TB
	nc net.Conn
	in []byte // read and not yet expected

	most time.Duration // to wait for; zero is patience
}

// call connects to a domain's listener.
func (d *domain) call() *raw {
	d.w.Helper()
	nc, err := net.Dial("tcp", d.addr.String())
	if err != nil {
		d.w.Fatal(err)
	}
	d.w.Cleanup(func() { nc.Close() })
	return &raw{t: d.w.T, nc: nc}
}

// accept takes the next connection of a listener.
func (w *world) accept(l net.Listener) *raw {
	w.Helper()
	l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	nc, err := l.Accept()
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { nc.Close() })
	return &raw{t: w.T, nc: nc}
}

// send writes text.
func (r *raw) send(text ...string) *raw {
	r.t.Helper()
	r.nc.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(r.nc, strings.Join(text, "")); err != nil {
		r.t.Fatal(err)
	}
	return r
}

// expect reads until text has come and returns everything up to its end.
func (r *raw) expect(text string) string {
	r.t.Helper()
	r.nc.SetReadDeadline(time.Now().Add(cmp.Or(r.most, patience)))
	buf := make([]byte, 4096)
	for {
		if i := bytes.Index(r.in, []byte(text)); i >= 0 {
			got := string(r.in[:i+len(text)])
			r.in = r.in[i+len(text):]
			return got
		}
		n, err := r.nc.Read(buf)
		r.in = append(r.in, buf[:n]...)
		if err != nil {
			r.t.Fatalf("want %s, got %s, %v", text, r.in, err)
		}
	}
}

// rest reads until the connection ends and returns what came.
func (r *raw) rest() string {
	r.t.Helper()
	r.nc.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(r.nc)
	if t, ok := err.(net.Error); ok && t.Timeout() {
		r.t.Fatalf("the connection stays open after %s%s", r.in, b)
	}
	return string(r.in) + string(b)
}

const streamNS = "xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback'"

func head(from, to string) string {
	return "<?xml version='1.0'?><stream:stream " + streamNS + " from='" + from + "' to='" + to + "' version='1.0' xml:lang='de'>"
}

const startTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"

// secure is the client's STARTTLS, from a fresh connection on.
func (r *raw) secure(from, to string, is *trusttest.Issued) *raw {
	r.t.Helper()
	r.send(head(from, to)).expect("</stream:features>")
	r.send(startTLS).expect("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	return r.handshake(is)
}

func (r *raw) handshake(is *trusttest.Issued) *raw {
	r.t.Helper()
	cfg := &tls.Config{InsecureSkipVerify: true}
	if is != nil {
		cfg.Certificates = []tls.Certificate{is.TLS}
	}
	conn := tls.Client(r.nc, cfg)
	conn.SetDeadline(time.Now().Add(patience))
	if err := conn.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	r.nc, r.in = conn, nil
	return r
}

func auth(authzid string) string {
	if authzid != "=" {
		authzid = base64.StdEncoding.EncodeToString([]byte(authzid))
	}
	return "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>" + authzid + "</auth>"
}

const success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"

// authenticate is all of negotiation by certificate.
func (r *raw) authenticate(from, to string, is *trusttest.Issued) *raw {
	r.t.Helper()
	r.secure(from, to, is).send(head(from, to)).expect("<mechanism>EXTERNAL</mechanism>")
	r.send(auth(from)).expect(success)
	r.send(head(from, to)).expect("</stream:features>")
	return r
}

// issue returns a certificate of the world's authority.
func (w *world) issue(domains ...string) *trusttest.Issued {
	w.Helper()
	is, err := w.ca.Issue(trusttest.Options{DNS: domains})
	if err != nil {
		w.Fatal(err)
	}
	return is
}

// chat is a message as peers write it.
func chat(from, to, body string) string {
	return "<message from='" + from + "' to='" + to + "' type='chat' id='1'><body>" + body + "</body></message>"
}

// begin opens a stream and returns its id.
func (r *raw) begin(from, to string) string {
	r.t.Helper()
	m := header.FindStringSubmatch(r.send(head(from, to)).expect("xml:lang='en'>"))
	if m == nil {
		r.t.Fatal("no header")
	}
	r.expect("</stream:features>")
	return m[6]
}

var initial = regexp.MustCompile(`<stream:stream [^>]* from='([^']*)' to='([^']*)' version`)

// respond is a server's answer to the stream header that has come, with
// features.
func (r *raw) respond(features string) *raw {
	r.t.Helper()
	got := r.expect(" version='1.0'>")
	m := initial.FindStringSubmatch(got)
	if m == nil {
		r.t.Fatalf("header %s", got)
	}
	return r.send("<?xml version='1.0'?><stream:stream "+streamNS+" from='"+m[2]+"' to='"+m[1]+"' id='their-id' version='1.0'>",
		"<stream:features>"+features+"</stream:features>")
}

// serve is the server's side up to the features after TLS.
func (r *raw) serve(w *world, is *trusttest.Issued, features string) *raw {
	w.Helper()
	r.respond("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>")
	r.expect(startTLS)
	r.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	return r.secured(is).respond(features)
}

// secured is the server's handshake.
func (r *raw) secured(is *trusttest.Issued) *raw {
	r.t.Helper()
	conn := tls.Server(r.nc, &tls.Config{Certificates: []tls.Certificate{is.TLS}, ClientAuth: tls.RequestClientCert})
	conn.SetDeadline(time.Now().Add(patience))
	if err := conn.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	r.nc, r.in = conn, nil
	return r
}

// trySecured is the server's handshake, and fails the test if it succeeds.
func (r *raw) trySecured(is *trusttest.Issued) {
	r.t.Helper()
	conn := tls.Server(r.nc, &tls.Config{Certificates: []tls.Certificate{is.TLS}, ClientAuth: tls.RequestClientCert})
	conn.SetDeadline(time.Now().Add(patience))
	err := conn.Handshake()
	if err == nil { // TLS 1.3: the other side's alert comes with the first read
		_, err = conn.Read(make([]byte, 1))
	}
	if err == nil {
		r.t.Error("the peer goes on without proof")
	}
}
