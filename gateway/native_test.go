package gateway_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"cpimgate/cpim/sipx"
	"cpimgate/federation"
	"cpimgate/gateway/gatewaytest"
)

// What the DNS says of a domain of the two tests below.
const (
	saysSIP  = "_sips._tcp.%s. SRV 0 0 5061 %[1]s.\n%[1]s. A 127.0.0.1\n"
	saysXMPP = "_xmpp-server._tcp.%s. SRV 0 0 5269 %[1]s.\n%[1]s. A 127.0.0.1\n"
	saysHost = "%s. A 127.0.0.1\n"
)

// TestTranslatedSIP: who comes by SIP from a domain that says that it speaks
// XMPP and not SIP was translated before, and is not translated again, unless the
// operator names a server of the domain (RFC 7247, section 8; RES-27). One of whom
// nothing is known, or cannot be found out, has proved his domain and is let in.
func TestTranslatedSIP(t *testing.T) {
	w := home(t, gatewaytest.Options{})
	domains := map[string]*gatewaytest.SIPDomain{}
	for _, tt := range []struct {
		domain, says string
		status       int
	}{
		{"sip.example", saysSIP, 200}, {"both.example", saysSIP + saysXMPP, 200}, {"xmpp.example", saysXMPP, 403},
		{"host.example", saysHost, 200}, {"nothing.example", "", 200}, {"broken.example", saysXMPP, 200},
	} {
		d := unlisted(t, w, tt.domain, "tybalt")
		domains[tt.domain] = d
		for says := range strings.Lines(tt.says) {
			if err := w.Add(fmt.Sprintf(says, tt.domain)); err != nil {
				t.Fatal(err)
			}
		}
		if tt.domain == "broken.example" {
			w.Zone.Break(tt.domain)
		}
		res, err := d.Write("tybalt", "juliet@example.com", "Hark")
		if err != nil || res.StatusCode != tt.status {
			t.Errorf("%s: %v, %v", tt.domain, res, err)
			continue
		}
		if tt.status == 403 {
			if warning := sipx.Value(res, "Warning"); !strings.Contains(warning, "the setting sip of that peer") {
				t.Errorf("the operator is told %s", warning)
			}
			continue
		}
		if e := receive(t, w.XMPP.Stanzas); !strings.Contains(e.Get("from"), tt.domain) {
			t.Errorf("%s: juliet has received %s", tt.domain, e)
		}
	}
	if n := counted(t, w, "SIP", "translated"); n != "1" {
		t.Errorf("%q were counted", n)
	}
	if _, _, err := w.Reload(w.YAML + "peers: {xmpp.example: {sip: \"sip:127.0.0.1:5061;transport=tls\"}}\n"); err != nil {
		t.Fatal(err)
	}
	writes(t, w, domains["xmpp.example"], "tybalt", `tybalt\40xmpp.example@gw.example.com`)
}

// TestTranslatedXMPP is the same for who comes by XMPP.
func TestTranslatedXMPP(t *testing.T) {
	refusals := make(chan string, 10)
	w := world(t, gatewaytest.Options{Admin: "127.0.0.1:0", Log: slog.New(gate{slog.DiscardHandler, federation.XMPP, refusals})})
	domains := map[string]*gatewaytest.XMPPDomain{}
	for _, tt := range []struct {
		domain, says string
		in           bool
	}{
		{"xmpp.example", saysXMPP, true}, {"both.example", saysSIP + saysXMPP, true}, {"sip.example", saysSIP, false},
		{"host.example", saysHost, true}, {"nothing.example", "", true}, {"broken.example", saysSIP, true},
	} {
		d, err := gatewaytest.NewXMPPDomain(gatewaytest.Settings{Domain: tt.domain, CA: w.CA, Resolver: w.Zone, Roots: w.CA.Pool()})
		if err != nil {
			t.Fatal(err)
		}
		runs(t, d.Run)
		domains[tt.domain] = d
		for says := range strings.Lines(tt.says) {
			if err := w.Add(fmt.Sprintf(says, tt.domain)); err != nil {
				t.Fatal(err)
			}
		}
		if tt.domain == "broken.example" {
			w.Zone.Break(tt.domain)
		}
		if err := d.Write("juliet", "romeo@example.net", "j", "Hark"); err != nil {
			t.Fatal(tt.domain, err)
		}
		if !tt.in {
			<-refusals
			continue
		}
		if req := <-w.SIP.Requests; req.From().Address.Host != tt.domain {
			t.Errorf("%s: romeo has received %s", tt.domain, req)
		}
	}
	if n := counted(t, w, "XMPP", "translated"); n != "1" {
		t.Errorf("%q were counted", n)
	}
	if _, _, err := w.Reload(w.YAML + "peers: {sip.example: {xmpp: \"127.0.0.1:5269\"}}\n"); err != nil {
		t.Fatal(err)
	}
	if err := domains["sip.example"].Write("juliet", "romeo@example.net", "j", "Hark"); err != nil {
		t.Fatal(err)
	}
	if req := <-w.SIP.Requests; req.From().Address.Host != "sip.example" {
		t.Errorf("romeo has received %s", req)
	}
}

// A gate lets a test wait until the gateway has written about one kind of thing
// to its log.
type gate struct {
	slog.Handler
	wire federation.Wire
	c    chan string
}

// Enabled implements [slog.Handler].
func (gate) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements [slog.Handler].
func (g gate) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if r.Message == "refused" && a.Key == "wire" && a.Value.Any() == g.wire {
			g.c <- r.Message
		}
		return true
	})
	return nil
}
