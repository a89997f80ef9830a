package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
	"cpimgate/federation/trust/trusttest"
)

// handshake lets a client and a server meet, and returns what each has seen.
func handshake(t *testing.T, client, server *tls.Config) (cs, ss tls.ConnectionState, cerr, serr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c, s := tls.Client(a, client), tls.Server(b, server)
	done := make(chan error)
	go func() { // waited for below
		err := s.HandshakeContext(t.Context())
		if err != nil {
			b.Close()
		}
		done <- err
	}()
	cerr = c.HandshakeContext(t.Context())
	if cerr != nil {
		a.Close()
	}
	serr = <-done
	return c.ConnectionState(), s.ConnectionState(), cerr, serr
}

// TestHandshake: two gateways meet. Each shows the certificate for the name
// that it stands for, and each proves the other's (RFC 5922, sections 7.3, 7.4
// and 7.8; RFC 6120, section 13.7.2.1).
func TestHandshake(t *testing.T) {
	ca := must(trusttest.NewCA("authority"))(t)
	certs := func(names ...string) (list []tls.Certificate) {
		for _, n := range names {
			list = append(list, must(ca.Issue(trusttest.Options{DNS: []string{n}}))(t).TLS)
		}
		return list
	}
	rules := map[string]federation.Rules{"loose.example": {Security: federation.DialbackOK}}
	ours := must(New(Config{Roots: ca.Pool(), Certs: certs("first.example", "example.com"), Book: book{rules: rules}}))(t)
	theirs := must(New(Config{Roots: ca.Pool(), Certs: certs("example.org", "example.net")}))(t)
	naked := must(New(Config{Roots: ca.Pool()}))(t)
	for _, w := range []federation.Wire{federation.SIP, federation.XMPP} {
		t.Run("good-"+string(w), func(t *testing.T) {
			cs, ss, cerr, serr := handshake(t, ours.Client(w, "example.com", "Example.NET."), theirs.Server(w))
			if cerr != nil || serr != nil {
				t.Fatal(cerr, serr)
			}
			if ss.ServerName != "example.net" || cs.Version < tls.VersionTLS12 {
				t.Errorf("SNI %q, version %x", ss.ServerName, cs.Version)
			}
			if err := ours.Verify(w, cs, "example.net"); err != nil {
				t.Error(err)
			}
			if got, err := theirs.Names(w, ss); err != nil || !slices.Equal(got, []string{"example.com"}) {
				t.Errorf("the server sees %v, %v", got, err)
			}
		})
		t.Run("wrong-name-"+string(w), func(t *testing.T) {
			_, _, cerr, serr := handshake(t, ours.Client(w, "example.com", "example.edu"), theirs.Server(w))
			if checkOf(cerr) != Name || serr == nil {
				t.Error(cerr, serr)
			}
		})
		t.Run("any-certificate-"+string(w), func(t *testing.T) {
			cs, _, cerr, serr := handshake(t, ours.Client(w, "example.com", "loose.example"), theirs.Server(w))
			if cerr != nil || serr != nil {
				t.Fatal(cerr, serr)
			}
			if err := ours.Verify(w, cs, "loose.example"); checkOf(err) != Name {
				t.Errorf("it proves its name: %v", err)
			}
		})
		t.Run("client-without-certificate-"+string(w), func(t *testing.T) {
			_, ss, cerr, serr := handshake(t, naked.Client(w, "example.com", "example.net"), theirs.Server(w))
			if cerr != nil || serr != nil {
				t.Fatal(cerr, serr)
			}
			if _, err := theirs.Names(w, ss); checkOf(err) != Shown {
				t.Error(err)
			}
		})
		t.Run("client-unknown-"+string(w), func(t *testing.T) {
			bad := must(trusttest.NewCA("bad"))(t)
			evil := must(New(Config{Roots: ca.Pool(), Certs: []tls.Certificate{must(bad.Issue(trusttest.Options{DNS: []string{"example.com"}}))(t).TLS}}))(t)
			_, ss, cerr, serr := handshake(t, evil.Client(w, "example.com", "example.net"), theirs.Server(w))
			if cerr != nil || serr != nil {
				t.Fatal("the wire decides, not the handshake:", cerr, serr)
			}
			if err := theirs.Verify(w, ss, "example.com"); checkOf(err) != Authority {
				t.Error(err)
			}
		})
	}
}

// TestHandshakeLimits: what a handshake does not let through at all.
func TestHandshakeLimits(t *testing.T) {
	ca := must(trusttest.NewCA("authority"))(t)
	issue := func(o trusttest.Options) []tls.Certificate { return []tls.Certificate{must(ca.Issue(o))(t).TLS} }
	ours := must(New(Config{Roots: ca.Pool(), Certs: issue(trusttest.Options{DNS: []string{"example.com"}})}))(t)
	theirs := must(New(Config{Roots: ca.Pool(), Certs: issue(trusttest.Options{DNS: []string{"example.net"}})}))(t)
	naked := must(New(Config{Roots: ca.Pool()}))(t)
	t.Run("server-for-clients-only", func(t *testing.T) {
		odd := must(New(Config{Roots: ca.Pool(), Certs: issue(trusttest.Options{DNS: []string{"example.net"}, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})}))(t)
		_, _, cerr, _ := handshake(t, ours.Client(federation.SIP, "example.com", "example.net"), odd.Server(federation.SIP))
		if checkOf(cerr) != Usage {
			t.Error(cerr)
		}
	})
	t.Run("alpn", func(t *testing.T) {
		cs, _, cerr, serr := handshake(t, ours.Client(federation.XMPP, "example.com", "example.net", ALPN), theirs.Server(federation.XMPP))
		if cerr != nil || serr != nil || cs.NegotiatedProtocol != "xmpp-server" {
			t.Error(cerr, serr, cs.NegotiatedProtocol)
		}
		_, _, cerr, _ = handshake(t, ours.Client(federation.XMPP, "example.com", "example.net", "xmpp-client"), theirs.Server(federation.XMPP))
		if cerr == nil {
			t.Error("a client's protocol on the servers' port")
		}
	})
	t.Run("tls-1.1", func(t *testing.T) {
		old := ours.Client(federation.SIP, "example.com", "example.net")
		old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		if _, _, cerr, serr := handshake(t, old, theirs.Server(federation.SIP)); cerr == nil || serr == nil {
			t.Error("TLS 1.1 is spoken (RFC 9325, section 3.1.1)")
		}
	})
	t.Run("weak-ciphers", func(t *testing.T) { // RFC 9325, section 4.1
		for _, suite := range tls.InsecureCipherSuites() {
			for _, w := range []federation.Wire{federation.SIP, federation.XMPP} {
				weak := ours.Client(w, "example.com", "example.net")
				weak.MaxVersion, weak.CipherSuites = tls.VersionTLS12, []uint16{suite.ID}
				if _, _, cerr, serr := handshake(t, weak, theirs.Server(w)); cerr == nil || serr == nil {
					t.Errorf("%s is spoken on %s", suite.Name, w)
				}
			}
		}
	})
	t.Run("no-certificate-of-ours", func(t *testing.T) {
		_, _, cerr, serr := handshake(t, ours.Client(federation.SIP, "example.com", "example.net"), naked.Server(federation.SIP))
		if cerr == nil || fault.KindOf(serr) != fault.Internal {
			t.Error(cerr, serr)
		}
	})
}

// TestChoose: a certificate that proves the name on the wire before one that
// only has it, an exact name before a wildcard, anything before the first.
func TestChoose(t *testing.T) {
	ca := must(trusttest.NewCA("authority"))(t)
	var certs []tls.Certificate
	for _, o := range []trusttest.Options{
		{DNS: []string{"first.example"}},
		{DNS: []string{"*.example.com"}},
		{DNS: []string{"a.example.com"}},
		{SIPURI: []string{"sip:uri.example"}, DNS: []string{"host.example", "both.example"}},
		{XMPPAddr: []string{"bücher.example"}},
		{SIPURI: []string{"sip:both.example"}},
	} {
		certs = append(certs, must(ca.Issue(o))(t).TLS)
	}
	s := must(New(Config{Roots: ca.Pool(), Certs: certs}))(t)
	for name, want := range map[string][2]int{ // on SIP, on XMPP
		"": {0, 0}, "first.example": {0, 0}, "unknown.example": {0, 0}, "A.example.com": {2, 2}, "b.example.com": {1, 1},
		"a.b.example.com": {0, 0}, "example.com": {0, 0}, "uri.example": {3, 3}, "host.example": {3, 3},
		"xn--bcher-kva.example": {4, 4}, "both.example": {5, 3},
	} {
		for i, w := range []federation.Wire{federation.SIP, federation.XMPP} {
			got := s.choose(w, name, func(*tls.Certificate) error { return nil })
			if string(got.Certificate[0]) != string(certs[want[i]].Certificate[0]) {
				t.Errorf("%q gets %v on %s, not number %d", name, got.Leaf.DNSNames, w, want[i])
			}
		}
	}
	last := certs[0]
	got := s.choose(federation.SIP, "unknown.example", func(c *tls.Certificate) error {
		if string(c.Certificate[0]) == string(last.Certificate[0]) {
			return errors.New("not supported")
		}
		return nil
	})
	if string(got.Certificate[0]) != string(certs[1].Certificate[0]) {
		t.Error("what the other end does not support comes first")
	}
}

// TestGaps: domains that we stand for and cannot prove are named before a peer
// finds out (XF-43).
func TestGaps(t *testing.T) {
	ca := must(trusttest.NewCA("authority"))(t)
	b := book{homes: []federation.Home{
		{Domain: "example.com", Users: federation.SIP},
		{Domain: "example.net", Users: federation.XMPP, Gateway: "gw.example.net"},
	}}
	type o = trusttest.Options
	for _, tt := range []struct {
		name  string
		certs []o
		want  string
	}{
		{"none", nil, "XMPP example.com, SIP example.net, XMPP gw.example.net"},
		{"dns", []o{{DNS: []string{"example.com", "example.net", "gw.example.net"}}}, ""},
		{"wildcard", []o{{DNS: []string{"example.com", "*.net", "*.example.net"}}}, "SIP example.net"},
		{"uri-hides-dns", []o{{DNS: []string{"example.com", "example.net", "gw.example.net"}, SIPURI: []string{"sip:example.com"}}}, "SIP example.net"},
		{"all", []o{{DNS: []string{"gw.example.net"}, SRVName: []string{"_xmpp-server.example.com"}, SIPURI: []string{"sip:example.com", "sip:example.net"}}}, ""},
		{"two", []o{{DNS: []string{"example.com", "gw.example.net"}}, {SIPURI: []string{"sip:example.net"}}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{Roots: ca.Pool(), Book: b}
			for _, o := range tt.certs {
				cfg.Certs = append(cfg.Certs, must(ca.Issue(o))(t).TLS)
			}
			var got []string
			for _, err := range must(New(cfg))(t).Gaps() {
				p, ok := errors.AsType[*Problem](err)
				if !ok || !strings.Contains(err.Error(), "under tls:") {
					t.Fatal(err)
				}
				got = append(got, string(p.Wire)+" "+p.Domain)
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("%v, want %s", got, tt.want)
			}
		})
	}
}

// TestOneSwitch: verification by crypto/tls is turned off in one place, where
// our own stands beside it. Peers that a test plays may be careless.
func TestOneSwitch(t *testing.T) {
	word := "Insecure" + "SkipVerify"
	var found []string
	err := filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		for range strings.Count(string(data), word) {
			found = append(found, filepath.ToSlash(path))
		}
		return err
	})
	if err != nil || !slices.Equal(found, []string{"../../federation/trust/trust.go"}) {
		t.Errorf("%s stands in %v, %v", word, found, err)
	}
}
