package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/gateway/gatewaytest"
	"cpimgate/testdata"
)

// counted returns how often a rule has refused something on a wire.
func counted(t *testing.T, w *gatewaytest.World, wire, rule string) string {
	t.Helper()
	_, after, _ := strings.Cut(metrics(t, w), fmt.Sprintf("cpimgate_policy_total{rule=%q,wire=%q} ", rule, wire))
	n, _, _ := strings.Cut(after, "\n")
	return n
}

// metrics returns what the gateway shows of itself.
func metrics(t *testing.T, w *gatewaytest.World) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + w.Gateway.Addrs()["admin"].String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// answer writes a SIP message and returns the answer without what names this
// one exchange.
func answer(t *testing.T, w *gatewaytest.World, user, to string) string {
	t.Helper()
	res, err := w.SIP.Write(user, to, "Hark")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(?m)^(Via|From|To|Call-ID|CSeq): .*$`)
	return names.ReplaceAllString(res.String(), "$1")
}

// hears writes a stanza and returns the error that comes back, without its
// addresses.
func hears(t *testing.T, w *gatewaytest.World, user, to string) string {
	t.Helper()
	if err := w.XMPP.Write(user, to, "x", "Hark"); err != nil {
		t.Fatal(err)
	}
	addresses := regexp.MustCompile(` (from|to)='[^']*'`)
	return addresses.ReplaceAllString(receive(t, w.XMPP.Stanzas).String(), "")
}

// TestBlocked: one who is blocked hears what is heard by one who writes to
// nobody, on both wires, however he spells himself and whomever he writes to:
// status, phrase and all header fields, condition, type and text (XF-71, ERR-14).
func TestBlocked(t *testing.T) {
	w := world(t, gatewaytest.Options{
		XMPPUsers: []string{"juliet", "mercutio", "Mercutio"}, SIPUsers: []string{"romeo"}, Admin: "127.0.0.1:0",
		YAML: gatewaytest.InTime + "policy: {block: [tybalt@example.net, Mercutio@EXAMPLE.com]}\n",
	})
	for _, at := range []string{"", ";gr=balcony"} {
		unknown := answer(t, w, "romeo", "nobody@example.com"+at)
		if at == "" && !strings.HasPrefix(unknown, "SIP/2.0 403 User unknown or not accepting messages\r\n") {
			t.Errorf("who writes to nobody hears %s", unknown)
		}
		for _, user := range []string{"tybalt", "TYBALT", "%74ybalt"} {
			for _, to := range []string{"juliet", "nobody"} {
				if got := answer(t, w, user, to+"@example.com"+at); got != unknown {
					t.Errorf("%s, who is blocked, hears of %s\n%s\nand not\n%s", user, to, got, unknown)
				}
			}
		}
	}
	if len(w.XMPP.Stanzas) > 0 {
		t.Errorf("juliet has received %s", <-w.XMPP.Stanzas)
	}
	unknown := hears(t, w, "juliet", "example.net") // which is nobody's address
	if !strings.Contains(unknown, "<service-unavailable ") {
		t.Errorf("who writes to nobody hears %s", unknown)
	}
	for _, user := range []string{"mercutio", "Mercutio"} {
		for _, to := range []string{"romeo", "nobody", "romeo"} {
			if got := hears(t, w, user, to+"@example.net"); got != unknown {
				t.Errorf("%s, who is blocked, hears of %s\n%s\nand not\n%s", user, to, got, unknown)
			}
		}
	}
	if len(w.SIP.Requests) > 0 {
		t.Errorf("romeo has received %s", <-w.SIP.Requests)
	}
	if sip, xmpp := counted(t, w, "SIP", "block"), counted(t, w, "XMPP", "block"); sip != "12" || xmpp != "6" {
		t.Errorf("%q and %q were counted, want 12 and 6", sip, xmpp)
	}
}

// TestBlockedIdentities: each identity that a home asserts for a sender is held
// against the block list, whether he shows it or not (RFC 5025, section 3.1.1.2;
// ID-13, ID-14).
func TestBlockedIdentities(t *testing.T) {
	w := world(t, gatewaytest.Options{YAML: gatewaytest.InTime + "policy: {block: [tybalt@example.net, +14155550100@example.net]}\n"})
	if _, _, err := w.Reload(strings.Replace(w.YAML, "users: sip,", "users: sip, numbers: true,", 1)); err != nil {
		t.Fatal(err)
	}
	if err := w.XMPP.Write("juliet", "romeo@example.net", "j1", "Hark"); err != nil { // she is known
		t.Fatal(err)
	}
	<-w.SIP.Requests
	const tybalt, number = "P-Asserted-Identity: <sip:tybalt@example.net>\n", "P-Asserted-Identity: <tel:+1-415-555-0100>\n"
	for fields, status := range map[string]int{
		"": 200,
		"P-Asserted-Identity: <sip:romeo@example.net>\n":                                             200,
		"P-Asserted-Identity: <sip:romeo@example.net>\nP-Asserted-Identity: <tel:+1-415-555-0199>\n": 200,
		tybalt:                         403,
		tybalt + "Privacy: user; id\n": 403,
		tybalt + "Privacy: none\n":     403,
		number + "Privacy: id\n":       403,
		"P-Asserted-Identity: <sip:romeo@example.net>\n" + number: 403,
	} {
		req := parse(t, testdata.CRLF(strings.Replace(message, "Max-", fields+"Max-", 1)))
		id := sip.CallIDHeader(sipx.NewCallID())
		req.ReplaceHeader(&id)
		res, err := w.SIP.Send(req)
		if err != nil || res.StatusCode != status {
			t.Errorf("%q: %v, %v; want %d", fields, res, err, status)
		}
		if status == 200 {
			receive(t, w.XMPP.Stanzas)
		}
	}
	if len(w.XMPP.Stanzas) > 0 {
		t.Errorf("juliet has received %s", <-w.XMPP.Stanzas)
	}
}

// TestStrangers: one who writes to many who have never written to him is told
// to wait, and those with whom he has a conversation still hear him (MSG-73).
func TestStrangers(t *testing.T) {
	w := world(t, gatewaytest.Options{Admin: "127.0.0.1:0", YAML: gatewaytest.InTime + "limits: {strangers: 1}\n"})
	if err := w.XMPP.Write("juliet", "romeo@example.net", "j1", "Hark"); err != nil {
		t.Fatal(err)
	}
	<-w.SIP.Requests
	if res, err := w.SIP.Write("romeo", "nobody0@example.com", "Buy!"); err != nil || res.StatusCode != 403 {
		t.Fatalf("one stranger: %v, %v", res, err)
	}
	res, err := w.SIP.Write("romeo", "nobody1@example.com", "Buy!")
	if err != nil || res.StatusCode != 480 || sipx.Value(res, "Retry-After") == "" {
		t.Errorf("one stranger too many: %v, %v", res, err)
	}
	if res, err := w.SIP.Write("romeo", "juliet@example.com", "Hark"); err != nil || res.StatusCode != 200 {
		t.Errorf("to one who has written: %v, %v", res, err)
	}
	receive(t, w.XMPP.Stanzas)
	if got := hears(t, w, "juliet", "nobody@example.net"); !strings.Contains(got, "type='wait'><policy-violation ") { // romeo was the one
		t.Errorf("one stranger too many: %s", got)
	}
	if sip, xmpp := counted(t, w, "SIP", "strangers"), counted(t, w, "XMPP", "strangers"); sip != "1" || xmpp != "1" {
		t.Errorf("%q and %q were counted", sip, xmpp)
	}
}

// TestAllow: allow: false holds on both wires, for what comes and for what would
// go (decision D-73); a home is not meant by "*".
func TestAllow(t *testing.T) {
	w := world(t, gatewaytest.Options{Admin: "127.0.0.1:0", YAML: "peers: {\"*\": {allow: false}}\n"})
	for _, to := range []string{"juliet@example.com", "tybalt@nowhere.example"} {
		res, err := w.SIP.Write("romeo", to, "Hark")
		if err != nil || res.StatusCode != 403 || !strings.Contains(sipx.Value(res, "Warning"), "allow") {
			t.Errorf("to %s: %v, %v", to, res, err)
		}
	}
	if err := w.XMPP.Write("juliet", "romeo@example.net", "x", "Hark"); err == nil {
		t.Error("juliet's server has got a stream")
	}
	if _, _, err := w.Reload(strings.Replace(w.YAML, `peers: {"*": {allow: false}}`, `peers: {"*": {allow: false}, example.com: {allow: true}}`, 1)); err != nil {
		t.Fatal(err)
	}
	if res, err := w.SIP.Write("romeo", "juliet@example.com", "Hark"); err != nil || res.StatusCode != 200 {
		t.Errorf("to one who is allowed now: %v, %v", res, err)
	}
	if n := counted(t, w, "SIP", "allow"); n != "2" {
		t.Errorf("%q were counted", n)
	}
}

// TestReload: rules, block list, rates and manners of a running gateway change,
// for conversations and streams that are there already, and what is under way
// goes on.
func TestReload(t *testing.T) {
	w := world(t, gatewaytest.Options{})
	reload := func(more, wantLive, wantRestart string) {
		t.Helper()
		live, restart, err := w.Reload(w.YAML + more)
		if l, r := strings.Join(live, " "), strings.Join(restart, " "); err != nil || l != wantLive || r != wantRestart {
			t.Fatalf("live %q, restart %q, %v", l, r, err)
		}
	}
	write := func(status int) *sip.Response {
		t.Helper()
		res, err := w.SIP.Write("romeo", "juliet@example.com", "Hark")
		if err != nil || res.StatusCode != status {
			t.Fatalf("answer %v, %v; want %d", res, err, status)
		}
		return res
	}
	comes := func(kind string) {
		t.Helper()
		if e := receive(t, w.XMPP.Stanzas); e.Get("type") != kind {
			t.Errorf("there came %s, want the type %q", e, kind)
		}
	}
	if err := w.XMPP.Write("juliet", "romeo@example.net", "j1", "Hark"); err != nil {
		t.Fatal(err)
	}
	<-w.SIP.Requests
	write(200)
	comes("")
	reload("peers: {example.com: {pager_type: chat}}\n", "peers.example.com", "")
	write(200)
	comes("chat")
	reload("policy: {block: [example.net]}\n", "peers.example.com policy.block", "")
	write(403)
	reload("limits: {per_sender: 0.001, queue: 7}\n", "limits.per_sender policy.block", "limits.queue")
	write(200)
	comes("")
	write(480)
	reload("limits: {queue: 7}\npeers: {example.com: {allow: false}}\n", "limits.per_sender peers.example.com", "limits.queue")
	if _, _, err := w.Reload(w.YAML + "limits: {queue: -1}\n"); err == nil {
		t.Error("settings with a mistake are taken")
	}
	if err := w.XMPP.Write("juliet", "romeo@example.net", "j2", "on a stream that was open"); err == nil {
		t.Error("juliet's server does not hear that she is not allowed any more")
	}
	reload("", "peers.example.com", "")
	for by := time.Now().Add(patience); w.XMPP.Write("juliet", "romeo@example.net", "j3", "allowed again") != nil; {
		if time.Now().After(by) { // until her server tries again, which nobody announces
			t.Fatal("juliet's server does not come back")
		}
	}
	if req := <-w.SIP.Requests; string(req.Body()) != "allowed again" {
		t.Errorf("romeo has received %s", req)
	}
}

// sipDomain adds a small SIP domain to a world, that of nobody we serve.
func sipDomain(t *testing.T, w *gatewaytest.World, name string, users ...string) *gatewaytest.SIPDomain {
	t.Helper()
	d := unlisted(t, w, name, users...)
	if err := w.Add(d.Zone()); err != nil {
		t.Fatal(err)
	}
	return d
}

// unlisted is sipDomain without records in the DNS.
func unlisted(t *testing.T, w *gatewaytest.World, name string, users ...string) *gatewaytest.SIPDomain {
	t.Helper()
	d, err := gatewaytest.NewSIPDomain(gatewaytest.Settings{Domain: name, Users: users, CA: w.CA, Net: w.SIP.Net, Resolver: w.Zone, Roots: w.CA.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	d.Border("gw.example.net")
	runs(t, d.Run)
	<-d.Ready()
	return d
}

// runs has something run until the end of a test.
func runs(t *testing.T, run func(context.Context) error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestAllowBorder: a SIP domain that is not allowed is neither heard nor written
// to, and whom the gateway does not serve cannot use it (GW-14, RES-23).
func TestAllowBorder(t *testing.T) {
	w := world(t, gatewaytest.Options{Admin: "127.0.0.1:0", YAML: "peers: {example.org: {allow: false}, \"*.bad.example\": {allow: false}}\n"})
	other := sipDomain(t, w, "example.org", "tybalt")
	for _, tt := range []struct {
		name     string
		from     *gatewaytest.SIPDomain
		user, to string
		phrase   string
	}{
		{"in", other, "tybalt", "romeo@example.net", "messages between these domains are not allowed here"},
		{"out", w.SIP, "romeo", "tybalt@example.org", "messages between these domains are not allowed here"},
		{"out, spelled otherwise", w.SIP, "romeo", "tybalt@EXAMPLE.org", "messages between these domains are not allowed here"},
		{"below", w.SIP, "romeo", "x@sub.bad.example", "messages between these domains are not allowed here"},
		{"through us", other, "tybalt", "juliet@example.com", "this gateway serves neither of these domains"},
	} {
		res, err := tt.from.Write(tt.user, tt.to, "Hark")
		if err != nil || res.StatusCode != 403 || res.Reason != tt.phrase {
			t.Errorf("%s: %v, %v; want %s", tt.name, res, err, tt.phrase)
		}
	}
	if a, n := counted(t, w, "SIP", "allow"), counted(t, w, "SIP", "not_served"); a != "4" || n != "1" {
		t.Errorf("%q and %q were counted, want 4 and 1", a, n)
	}
	if len(w.SIP.Requests)+len(other.Requests)+len(w.XMPP.Stanzas) > 0 {
		t.Error("somebody has received something")
	}
}

// TestSpoofed: who speaks for another domain than its connection proves is
// refused, and that is counted (GW-06, RES-20).
func TestSpoofed(t *testing.T) {
	w := world(t, gatewaytest.Options{Admin: "127.0.0.1:0"})
	req := parse(t, testdata.CRLF(message))
	setURI(t, &req.From().Address, "sip:romeo@other.example")
	if res, err := w.SIP.Send(req); err != nil || res.StatusCode != 403 {
		t.Errorf("%v, %v", res, err)
	}
	if n := counted(t, w, "SIP", "spoofed"); n != "1" {
		t.Errorf("%q were counted", n)
	}
	if len(w.XMPP.Stanzas) > 0 {
		t.Errorf("juliet has received %s", <-w.XMPP.Stanzas)
	}
}

// TestReloadDomains: a domain that is no longer ours is not served, on streams
// that are open either, and one that is new is.
func TestReloadDomains(t *testing.T) {
	w := world(t, gatewaytest.Options{Admin: "127.0.0.1:0"})
	if err := w.XMPP.Write("juliet", "romeo@example.net", "j1", "Hark"); err != nil {
		t.Fatal(err)
	}
	<-w.SIP.Requests
	live, restart, err := w.Reload(strings.Replace(w.YAML, "  example.net: {users: sip, ", "  example.org: {users: sip, ", 1))
	if err != nil || strings.Join(live, " ") != "domains.example.net domains.example.org" || len(restart) > 0 {
		t.Fatal(live, restart, err)
	}
	if err := w.XMPP.Write("juliet", "romeo@example.net", "j2", "Hark"); err == nil {
		t.Error("juliet's server does not hear that the domain is not here any more")
	}
	if res, err := w.SIP.Write("romeo", "juliet@example.com", "Hark"); err != nil || res.StatusCode != 403 {
		t.Errorf("romeo is answered %v, %v", res, err)
	}
	if n := counted(t, w, "SIP", "not_served"); n != "1" {
		t.Errorf("%q were counted", n)
	}
	other := sipDomain(t, w, "example.org", "tybalt")
	if res, err := other.Write("tybalt", "juliet@example.com", "Hark"); err != nil || res.StatusCode == 403 {
		t.Errorf("tybalt, who is ours now, is answered %v, %v", res, err)
	}
}
