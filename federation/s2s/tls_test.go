package s2s_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation/trust/trusttest"
)

// direct is a server's handshake that begins a connection, and what the client
// has asked for in it.
func (r *raw) direct(is *trusttest.Issued) (hello *tls.ClientHelloInfo, err error) {
	conn := tls.Server(r.nc, &tls.Config{
		ClientAuth: tls.RequestClientCert, NextProtos: []string{"xmpp-server"},
		GetCertificate: func(chi *tls.ClientHelloInfo) (*tls.Certificate, error) { hello = chi; return &is.TLS, nil },
	})
	conn.SetDeadline(time.Now().Add(patience))
	if err = conn.Handshake(); err == nil {
		r.nc, r.in = conn, nil
	}
	return hello, err
}

// TestDirectHello: direct TLS begins with the name of the domain, whatever host
// its records lead to, and the protocol of servers; inside there is no STARTTLS,
// even where the peer offers it; and the certificate must be that of the domain
// (XEP-0368, section 3).
func TestDirectHello(t *testing.T) {
	w := newWorld(t)
	l := w.listen()
	t.Cleanup(func() { l.Close() })
	w.at("_xmpps-server", "b.example", addrOf(l))
	a := w.start("a.example")
	out := a.send("juliet@b.example", "hello")
	r := w.accept(l)
	hello, err := r.direct(w.issue("b.example"))
	if err != nil {
		t.Fatal(err)
	}
	if protocols := strings.Join(hello.SupportedProtos, " "); hello.ServerName != "b.example" || protocols != "xmpp-server" {
		t.Errorf("asked for %q by %q", hello.ServerName, protocols)
	}
	got := r.respond(offerTLS + offerDialback).expect("</db:result>")
	if strings.Contains(got, "starttls") {
		t.Errorf("got %s", got)
	}
	r.send(valid).expect("</message>")
	written(t, out)

	for name, is := range map[string]*trusttest.Issued{"host": w.issue("host-b.example"), "other": w.issue("c.example"), "stranger": w.stranger("b.example")} {
		t.Run(name, func(t *testing.T) {
			c := w.start("c.example")
			defer c.stop()
			out := c.send("juliet@b.example", "hello")
			r := w.accept(l)
			if _, err := r.direct(is); err == nil { // TLS 1.3: the other side's alert comes with the first read
				if got := r.rest(); got != "" {
					t.Errorf("got %s", got)
				}
			}
			given(t, out, fault.Timeout)
		})
	}
}

// TestBrokenHandshake: where the handshake fails the connection ends, and
// nothing of XML is said any more (RFC 6120, section 5.4.3.2).
func TestBrokenHandshake(t *testing.T) {
	const proceed = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	t.Run("in", func(t *testing.T) {
		w := newWorld(t)
		r := w.start("a.example").call().send(head("b.example", "a.example"))
		r.expect("</stream:features>")
		r.send(startTLS).expect(proceed)
		if got := r.send("this is no ClientHello").rest(); strings.Contains(got, "<") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("out", func(t *testing.T) {
		w := newWorld(t)
		l := w.far()
		out := w.start("a.example").send("juliet@b.example", "hello")
		r := w.accept(l).respond(offerTLS)
		r.expect(startTLS)
		r.send(proceed).expect("\x16\x03") // the first octets of a ClientHello
		if got := r.send("this is no ServerHello").rest(); strings.Contains(got, "stream") {
			t.Errorf("got %q", got)
		}
		given(t, out, fault.Forbidden)
	})
}
