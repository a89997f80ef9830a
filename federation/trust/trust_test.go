package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
	"cpimgate/federation/trust/trusttest"
)

// book is what an operator wrote, for tests.
type book struct {
	homes []federation.Home
	rules map[string]federation.Rules
}

func (b book) Home(d string) (federation.Home, bool) {
	i := slices.IndexFunc(b.homes, func(h federation.Home) bool { return h.Domain == d })
	if i < 0 {
		return federation.Home{}, false
	}
	return b.homes[i], true
}
func (b book) Homes() []federation.Home        { return b.homes }
func (b book) Rules(d string) federation.Rules { return b.rules[d] }
func (b book) Stands(w federation.Wire, d string) bool {
	h, ok := b.Home(d)
	return ok && h.Users != w || slices.ContainsFunc(b.homes, func(h federation.Home) bool { return h.Gateway == d && w == federation.XMPP })
}

// must returns what a call returned without error.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// shown is the state of a connection whose peer showed a certificate.
func shown(t *testing.T, is *trusttest.Issued) tls.ConnectionState {
	t.Helper()
	var cs tls.ConnectionState
	for _, der := range is.TLS.Certificate {
		cs.PeerCertificates = append(cs.PeerCertificates, must(x509.ParseCertificate(der))(t))
	}
	return cs
}

// checkOf returns which check an error is about, and "" for none.
func checkOf(err error) Check {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Check
	}
	return ""
}

// TestNames is the matrix of names in certificates: RFC 5922, sections 7.1 and
// 7.2, for SIP; RFC 6120, section 13.7.1.2.1, and RFC 9525, for
// XMPP. Each certificate is held against example.com on both wires.
func TestNames(t *testing.T) {
	type o = trusttest.Options
	tests := []struct {
		name      string
		o         o
		sip, xmpp bool   // proves example.com
		sipNames  string // all that it proves, in order
		xmppNames string
	}{
		{"dns", o{DNS: []string{"example.com"}}, true, true, "example.com", "example.com"},
		{"dns-case", o{DNS: []string{"Example.COM"}}, true, true, "example.com", "example.com"},
		{"dns-two", o{DNS: []string{"a.example", "example.com"}}, true, true, "a.example example.com", "a.example example.com"},
		{"dns-other", o{DNS: []string{"example.org"}}, false, false, "example.org", "example.org"},
		{"dns-below", o{DNS: []string{"sip.example.com"}}, false, false, "sip.example.com", "sip.example.com"},
		{"dns-above", o{DNS: []string{"com"}}, false, false, "com", "com"},
		{"dns-wildcard", o{DNS: []string{"*.com"}}, false, true, "", ""},
		{"dns-wildcard-below", o{DNS: []string{"*.example.com"}}, false, false, "", ""},
		{"dns-wildcard-part", o{DNS: []string{"ex*.com"}}, false, false, "", ""},
		{"dns-wildcard-alone", o{DNS: []string{"*"}}, false, false, "", ""},
		{"dns-wildcard-inside", o{DNS: []string{"example.*"}}, false, false, "", ""},
		{"sip-uri", o{SIPURI: []string{"sip:example.com"}}, true, false, "example.com", ""},
		{"sip-uri-case", o{SIPURI: []string{"SIP:EXAMPLE.com"}}, true, false, "example.com", ""},
		{"sip-uri-hides-dns", o{SIPURI: []string{"sip:example.org"}, DNS: []string{"example.com"}}, false, true, "example.org", "example.com"},
		{"sip-uri-of-user", o{SIPURI: []string{"sip:juliet@example.com"}}, false, false, "", ""},
		{"sip-uri-of-user-beside-dns", o{SIPURI: []string{"sip:juliet@example.org"}, DNS: []string{"example.com"}}, true, true, "example.com", "example.com"},
		{"sip-uri-of-user-with-parameter", o{SIPURI: []string{"sip:example.com;x@example.org"}}, false, false, "", ""},
		{"sips-uri", o{SIPURI: []string{"sips:example.com"}}, false, false, "", ""},
		{"sip-uri-parameters", o{SIPURI: []string{"sip:example.com;transport=tls"}}, true, false, "example.com", ""},
		{"sip-uri-port", o{SIPURI: []string{"sip:example.com:5061"}}, true, false, "example.com", ""},
		{"sip-uri-wildcard", o{SIPURI: []string{"sip:*.com"}}, false, false, "", ""},
		{"srv-name", o{SRVName: []string{"_xmpp-server.example.com"}}, false, true, "", "example.com"},
		{"srv-name-case", o{SRVName: []string{"_XMPP-Server.Example.com"}}, false, true, "", "example.com"},
		{"srv-name-of-client", o{SRVName: []string{"_xmpp-client.example.com"}}, false, false, "", ""},
		{"srv-name-wildcard", o{SRVName: []string{"_xmpp-server.*.com"}}, false, false, "", ""},
		{"xmpp-addr", o{XMPPAddr: []string{"example.com"}}, false, true, "", "example.com"},
		{"xmpp-addr-idn", o{XMPPAddr: []string{"bücher.example"}}, false, false, "", "xn--bcher-kva.example"},
		{"xmpp-addr-of-user", o{XMPPAddr: []string{"juliet@example.com"}}, false, false, "", ""},
		{"xmpp-addr-of-resource", o{XMPPAddr: []string{"example.com/x"}}, false, false, "", ""},
		{"cn", o{CN: "example.com"}, true, false, "example.com", ""},
		{"cn-beside-san", o{CN: "example.com", DNS: []string{"example.org"}}, false, false, "example.org", "example.org"},
		{"cn-no-name", o{CN: "Example Company"}, false, false, "", ""},
		{"nothing", o{}, false, false, "", ""},
		{"all", o{DNS: []string{"example.com", "*.example.com"}, SIPURI: []string{"sip:example.com"}, SRVName: []string{"_xmpp-server.example.com"},
			XMPPAddr: []string{"example.com"}}, true, true, "example.com", "example.com"},
	}
	ca := must(trusttest.NewCA("authority"))(t)
	s := must(New(Config{Roots: ca.Pool()}))(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cs := shown(t, must(ca.Issue(tt.o))(t))
			for _, w := range []struct {
				wire  federation.Wire
				ok    bool
				names string
			}{{federation.SIP, tt.sip, tt.sipNames}, {federation.XMPP, tt.xmpp, tt.xmppNames}} {
				err := s.Verify(w.wire, cs, "EXAMPLE.com")
				if (err == nil) != w.ok || err != nil && checkOf(err) != Name {
					t.Errorf("%s: %v", w.wire, err)
				}
				names, err := s.Names(w.wire, cs)
				if strings.Join(names, " ") != w.names || (err == nil) != (w.names != "") {
					t.Errorf("%s: names %q, %v", w.wire, names, err)
				}
			}
		})
	}
}

// TestChain is the matrix of what must hold before names count: RFC 5280,
// section 6.1, on both wires.
func TestChain(t *testing.T) {
	ca := must(trusttest.NewCA("authority"))(t)
	other := must(trusttest.NewCA("other authority"))(t)
	sub := must(ca.Sub(trusttest.Options{CN: "intermediate"}))(t)
	oldSub := must(ca.Sub(trusttest.Options{CN: "old intermediate", NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(-1, 0, 0)}))(t)
	limited := must(ca.Sub(trusttest.Options{CN: "limited", Permitted: []string{"example.org"}}))(t)
	limitedHere := must(ca.Sub(trusttest.Options{CN: "limited", Permitted: []string{"example.com"}}))(t)
	type o = trusttest.Options
	dns := []string{"example.com"}
	tests := []struct {
		name   string
		issuer *trusttest.CA
		o      o
		sip    Check
		xmpp   Check
	}{
		{"good", ca, o{DNS: dns}, "", ""},
		{"intermediate", sub, o{DNS: dns}, "", ""},
		{"unknown-authority", other, o{DNS: dns}, Authority, Authority},
		{"expired", ca, o{DNS: dns, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().Add(-time.Minute)}, Validity, Validity},
		{"not-yet", ca, o{DNS: dns, NotBefore: time.Now().Add(time.Hour)}, Validity, Validity},
		{"expired-intermediate", oldSub, o{DNS: dns}, Validity, Validity},
		{"client-auth-alone", ca, o{DNS: dns, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, "", ""},
		{"code-signing", ca, o{DNS: dns, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}, Usage, Usage},
		{"is-authority", ca, o{DNS: dns, IsCA: true}, Usage, Usage},
		{"critical-san", ca, o{SRVName: []string{"_xmpp-server.example.com"}, Critical: true}, Name, ""},
		{"constrained-elsewhere", limited, o{DNS: dns}, Authority, Authority},
		{"constrained-here", limitedHere, o{DNS: dns}, "", ""},
		{"constrained-srv-name", limited, o{SRVName: []string{"_xmpp-server.example.com"}}, Name, Name},
		{"constrained-xmpp-addr", limited, o{XMPPAddr: dns}, Name, Name},
		{"constrained-sip-uri", limited, o{SIPURI: []string{"sip:example.com"}}, Authority, Authority},
		{"constrained-sip-uri-here", limitedHere, o{SIPURI: []string{"sip:example.com"}, DNS: dns}, Authority, Authority},
		{"constrained-cn", limited, o{CN: "example.com"}, Name, Name},
	}
	s := must(New(Config{Roots: ca.Pool()}))(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cs := shown(t, must(tt.issuer.Issue(tt.o))(t))
			for w, want := range map[federation.Wire]Check{federation.SIP: tt.sip, federation.XMPP: tt.xmpp} {
				err := s.Verify(w, cs, "example.com")
				if checkOf(err) != want || (err == nil) != (want == "") {
					t.Errorf("%s: %q, want %q: %v", w, checkOf(err), want, err)
				}
				if err != nil && (fault.KindOf(err) != fault.Timeout || strings.Contains(fault.TextOf(err), "example")) {
					t.Errorf("%s: the sender is told %v %q", w, fault.KindOf(err), fault.TextOf(err))
				}
			}
		})
	}
	later := must(New(Config{Roots: ca.Pool(), Now: func() time.Time { return time.Now().AddDate(2, 0, 0) }}))(t)
	if err := later.Verify(federation.SIP, shown(t, must(ca.Issue(o{DNS: dns}))(t)), "example.com"); checkOf(err) != Validity {
		t.Errorf("in two years: %v", err)
	}
	for _, w := range []federation.Wire{federation.SIP, federation.XMPP} {
		if err := s.Verify(w, tls.ConnectionState{}, "example.com"); checkOf(err) != Shown {
			t.Errorf("without certificate: %v", err)
		}
		if names, err := s.Names(w, tls.ConnectionState{}); checkOf(err) != Shown || names != nil {
			t.Errorf("names without certificate: %v, %v", names, err)
		}
		if names, err := s.Names(w, shown(t, must(other.Issue(o{DNS: dns}))(t))); checkOf(err) != Authority || names != nil {
			t.Errorf("names of an unknown authority: %v, %v", names, err)
		}
	}
}

// TestAdvice: the operator reads which check failed for which peer, and what to
// change.
func TestAdvice(t *testing.T) {
	ca := must(trusttest.NewCA("authority"))(t)
	other := must(trusttest.NewCA("Verona Lab"))(t)
	type o = trusttest.Options
	end := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name string
		cs   tls.ConnectionState
		want []string
	}{
		{"expired", shown(t, must(ca.Issue(o{DNS: []string{"example.com"}, NotBefore: end.AddDate(-1, 0, 0), NotAfter: end}))(t)), []string{"2024-02-29T12:00:00Z", "renew"}},
		{"unknown", shown(t, must(other.Issue(o{DNS: []string{"example.com"}}))(t)), []string{"Verona Lab", "ca_file", "peers: example.com"}},
		{"self-signed", tls.ConnectionState{PeerCertificates: []*x509.Certificate{other.Cert}}, []string{"self-signed", "ca_file"}},
		{"name", shown(t, must(ca.Issue(o{DNS: []string{"a.example", "b.example"}}))(t)), []string{"a.example, b.example", "needs one that names example.com"}},
		{"wildcard", shown(t, must(ca.Issue(o{DNS: []string{"*.com"}}))(t)), []string{"*.com", "RFC 5922, section 7.2"}},
		{"none", tls.ConnectionState{}, []string{"none was shown"}},
	}
	s := must(New(Config{Roots: ca.Pool()}))(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := s.Verify(federation.SIP, tt.cs, "example.com")
			for _, want := range append(tt.want, "example.com") {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not say %q", err, want)
				}
			}
		})
	}
}

// TestRoots: a peer's ca_file stands instead of the system's roots, for that
// peer only (D-73); a certificate may stand there itself, authority or not.
func TestRoots(t *testing.T) {
	public := must(trusttest.NewCA("public"))(t)
	private := must(trusttest.NewCA("private"))(t)
	pinned := must(private.Issue(trusttest.Options{DNS: []string{"pinned.example"}, IsCA: true}))(t)
	dir := t.TempDir()
	caFile, pinFile, badFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "pin.pem"), filepath.Join(dir, "bad.pem")
	write(t, caFile, private.PEM)
	write(t, pinFile, pinned.CertPEM)
	write(t, badFile, []byte("nothing"))
	s := must(New(Config{Roots: public.Pool(), Book: book{rules: map[string]federation.Rules{
		"lab.example":    {CAFile: caFile},
		"pinned.example": {CAFile: pinFile},
		"bad.example":    {CAFile: badFile},
	}}}))(t)
	names := trusttest.Options{DNS: []string{"lab.example", "www.example"}}
	byPublic, byPrivate := shown(t, must(public.Issue(names))(t)), shown(t, must(private.Issue(names))(t))
	tests := []struct {
		cs     tls.ConnectionState
		domain string
		want   Check
	}{
		{byPrivate, "lab.example", ""},
		{byPublic, "lab.example", Authority},
		{byPublic, "www.example", ""},
		{byPrivate, "www.example", Authority},
		{shown(t, pinned), "pinned.example", ""},
	}
	for _, tt := range tests {
		if err := s.Verify(federation.XMPP, tt.cs, tt.domain); checkOf(err) != tt.want || (err == nil) != (tt.want == "") {
			t.Errorf("%s by %s: %v", tt.domain, tt.cs.PeerCertificates[0].Issuer, err)
		}
	}
	for want, cs := range map[string]tls.ConnectionState{"lab.example": byPrivate, "www.example": byPublic} {
		if got, err := s.Names(federation.SIP, cs); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("names are %v, want %s: %v", got, want, err)
		}
	}
	if err := s.Verify(federation.XMPP, byPublic, "bad.example"); fault.KindOf(err) != fault.Internal || !strings.Contains(err.Error(), badFile) {
		t.Errorf("a bad ca_file: %v", err)
	}
	both := must(New(Config{Roots: public.Pool(), CAFile: caFile}))(t)
	for _, cs := range []tls.ConnectionState{byPublic, byPrivate} {
		if err := both.Verify(federation.SIP, cs, "lab.example"); err != nil {
			t.Errorf("ca_file besides the system's: %v", err)
		}
	}
}

// TestHomeServer: the configured SIP server of a home domain speaks for it with
// its own name, on SIP only (D-72).
func TestHomeServer(t *testing.T) {
	ca := must(trusttest.NewCA("authority"))(t)
	s := must(New(Config{Roots: ca.Pool(), Book: book{homes: []federation.Home{
		{Domain: "example.com", Users: federation.SIP, Server: "sip:Proxy.example.com:5071;transport=tls"},
		{Domain: "example.net", Users: federation.XMPP, Server: "proxy.example.com:5269"},
		{Domain: "example.org", Users: federation.SIP},
	}}}))(t)
	cs := shown(t, must(ca.Issue(trusttest.Options{DNS: []string{"proxy.example.com"}}))(t))
	for d, ok := range map[string]bool{"example.com": true, "example.net": false, "example.org": false, "proxy.example.com": true} {
		if err := s.Verify(federation.SIP, cs, d); (err == nil) != ok {
			t.Errorf("%s on SIP: %v", d, err)
		}
	}
	if err := s.Verify(federation.XMPP, cs, "example.com"); checkOf(err) != Name {
		t.Errorf("on XMPP: %v", err)
	}
	if got, err := s.Names(federation.SIP, cs); err != nil || !slices.Equal(got, []string{"proxy.example.com", "example.com"}) {
		t.Errorf("names are %v, %v", got, err)
	}
}

// write writes a file of a test.
func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
