package peers

import (
	"strings"
	"testing"

	"cpimgate/federation/trust/trusttest"
)

// A meeting is one SIP domain whose border we are and several XMPP domains out
// there, each with its own server, and a Juliet in each. Romeo writes by
// sipsak, which shows the answer, and reads with baresip.
type meeting struct {
	*Net

	kamailio *Kamailio
	gateway  *Gateway
	romeo    *Baresip
}

// TestXMPPServers plays every way in which servers believe each other, with
// Prosody and ejabberd: certificates and SASL EXTERNAL after STARTTLS and over
// direct TLS (XEP-0368), and dialback where neither side trusts the other's
// certificate. The zone has only the records of the way that is played, in
// both directions.
func TestXMPPServers(t *testing.T) {
	s := &meeting{Net: New(t)}
	other := NewCA(t, s.Dir, "other")
	scenes := []struct {
		domain, port, auth, proof string
		ejabberd                  bool
	}{
		{"prosody-external.example", ":5269,", "EXTERNAL", "certificate", false},
		{"prosody-direct.example", ":5270,", "EXTERNAL", "certificate", false},
		{"prosody-dialback.example", ":5269,", "dialback", "dialback", false},
		{"ejabberd-external.example", ":5269,", "EXTERNAL", "certificate", true},
		{"ejabberd-direct.example", ":5270,", "EXTERNAL", "certificate", true},
		{"ejabberd-dialback.example", ":5269,", "dialback", "dialback", true},
	}
	config := "domains:\n  sip.example: {users: sip}\npeers:\n  sip.example: {security: plain-ok}\n" + inTime
	zone := SIPRecords("sip.example", "udp", 10) + SIPRecords("gw.example", "udp", 1)
	for i, sc := range scenes {
		zone += serverRecords(sc.domain, 20+i, sc.port == ":5270,") + ClientRecords(sc.domain)
		users, secure, ca := []string{"juliet"}, sc.proof == "certificate", other
		if secure {
			ca = nil
		} else {
			config += "  " + sc.domain + ": {security: dialback-ok}\n"
		}
		if sc.ejabberd {
			s.StartEjabberd(EjabberdConfig{Domain: sc.domain, Host: 20 + i, Users: users, Dialback: !secure, Authority: ca, Roots: ca})
		} else {
			s.StartProsody(ProsodyConfig{Domain: sc.domain, Host: 20 + i, Users: users, SecureAuth: secure, Authority: ca, Roots: ca, OneWay: true})
		}
	}
	s.enter(config)
	for _, sc := range scenes {
		t.Run(strings.TrimSuffix(sc.domain, ".example"), func(t *testing.T) {
			s.Zone(zone + serverRecords("sip.example", 1, sc.port == ":5270,"))
			s.exchange(t, sc.domain, sc.proof == "dialback")
			s.gateway.AwaitLine(0, `"peer up"`, "peer="+sc.domain, sc.port, "auth="+sc.auth)
			s.gateway.AwaitLine(0, `"peer up"`, "peer="+sc.domain, "to=sip.example", "proof="+sc.proof)
		})
	}
}

// serverRecords say where servers find a domain, by one way only.
func serverRecords(domain string, host int, direct bool) string {
	if direct {
		return DirectRecords(domain, host)
	}
	return XMPPRecords(domain, host, false)
}

// TestXMPPAddr shows a certificate with an id-on-xmppAddr (RFC 6120, section
// 13.7.1.4) to ejabberd 23.01, whose stream dies over it as soon as it reads
// EXTERNAL: we come again with dialback. A server without dialback remains out
// of reach, and the sender hears it.
func TestXMPPAddr(t *testing.T) {
	s := &meeting{Net: New(t)}
	zone := SIPRecords("sip.example", "udp", 10) + SIPRecords("gw.example", "udp", 1) + XMPPRecords("sip.example", 1, false)
	for i, domain := range []string{"dialback.example", "strict.example"} {
		zone += XMPPRecords(domain, 20+i, false) + ClientRecords(domain)
	}
	s.Zone(zone)
	either := s.StartEjabberd(EjabberdConfig{Domain: "dialback.example", Host: 20, Users: []string{"juliet"}, Dialback: true})
	s.StartEjabberd(EjabberdConfig{Domain: "strict.example", Host: 21, Users: []string{"juliet"}})
	s.enter("domains:\n  sip.example: {users: sip}\npeers:\n  sip.example: {security: plain-ok}\n" + inTime)
	_ = s.gateway.Stop()
	s.gateway.Certify(s.CA.With(func(o *trusttest.Options) { o.XMPPAddr = []string{"sip.example"} }))
	s.gateway.Start()

	s.exchange(t, "dialback.example", false)
	s.gateway.AwaitLine(0, `"peer up"`, "peer=dialback.example", "auth=dialback")
	either.AwaitLine(0, "crasher")
	status, answer := s.Sipsak(s.kamailio.Addr, "romeo@sip.example", "juliet@strict.example", "hello")
	if status < 400 {
		t.Errorf("romeo was answered %d:\n%s", status, answer)
	}
	s.gateway.AwaitLine(0, `"cannot reach peer"`, "peer=strict.example", "not-authorized", "EOF") // by certificate, by dialback
}

// enter starts the SIP domain, the gateway at its border, and Romeo's client.
func (s *meeting) enter(config string) {
	s.t.Helper()
	s.kamailio = s.StartKamailio(KamailioConfig{Domain: "sip.example", Host: 10, NextHop: "sip:gw.example"})
	s.gateway = s.StartGateway(GatewayConfig{Binary: cpimgate, Host: 1, Names: []string{"gw.example", "sip.example"}, Config: config})
	s.romeo = s.StartBaresip(BaresipConfig{
		User: "romeo@sip.example", Host: 11, Server: s.kamailio.Addr, Transport: "udp", Correspondent: "sip:juliet@xmpp.example",
	})
}

// exchange lets Romeo and the Juliet of one domain write to each other, and to
// people who are not there. Her client need not know who signed her server's
// certificate.
func (s *meeting) exchange(t *testing.T, domain string, unverified bool) {
	t.Helper()
	var flags []string
	if unverified {
		flags = []string{"--no-tls-verify"}
	}
	user := "juliet@" + domain
	juliet := s.StartSendxmpp(user, "romeo@sip.example", flags...)
	lost := s.StartSendxmpp(user, "nobody@sip.example", flags...)
	defer juliet.Kill()
	defer lost.Kill()
	const ask, tell = "Чья там рука? — 誰の手？ <b>&amp;</b> 🌹", "Ô Roméo! — ロミオ <i>&lt;</i> 🌹"
	mark := s.romeo.Log.Len()
	juliet.Say(tell)
	if from := s.romeo.AwaitMessage(mark, tell); !strings.HasPrefix(from, "sip:"+user) {
		t.Errorf("romeo got it from %q", from)
	}
	if status, answer := s.Sipsak(s.kamailio.Addr, "romeo@sip.example", user, ask); status != 200 {
		t.Errorf("romeo was answered %d:\n%s", status, answer)
	}
	if m := juliet.AwaitMessage(0, ask); !strings.HasPrefix(m.From, "romeo@sip.example") {
		t.Errorf("juliet got %v", m)
	}
	if status, answer := s.Sipsak(s.kamailio.Addr, "romeo@sip.example", "nobody@"+domain, "hello"); status != 403 { // decision D-87
		t.Errorf("romeo was answered %d:\n%s", status, answer)
	}
	lost.Say("hello")
	if e := lost.AwaitError(0, "nobody@sip.example"); e.Condition() != "item-not-found" {
		t.Errorf("juliet got %v", e)
	}
}
