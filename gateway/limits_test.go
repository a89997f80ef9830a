package gateway_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/federation"
	"cpimgate/gateway/gatewaytest"
)

// TestFlood: one who says more than he may is told so, in a way that says to
// wait (MSG-73; RFC 6120, section 13.12).
func TestFlood(t *testing.T) {
	w := world(t, gatewaytest.Options{YAML: "limits: {per_sender: 0.001}\n"}) // one, and no more for as long as tests may take
	var last *sip.Response
	for i := range 2 {
		res, err := w.SIP.Write("romeo", "juliet@example.com", fmt.Sprint("message ", i))
		if err != nil {
			t.Fatal(err)
		}
		last = res
	}
	if last.StatusCode != 480 || sipx.Value(last, "Retry-After") == "" {
		t.Errorf("the second of a burst of one is answered %s", last)
	}
	for i := range 2 {
		if err := w.XMPP.Write("juliet", "romeo@example.net", fmt.Sprint("j", i), "Hark"); err != nil {
			t.Fatal(err)
		}
	}
	for {
		e := receive(t, w.XMPP.Stanzas)
		if e.Get("type") != "error" {
			continue // what Romeo wrote
		}
		if x := xep.ErrorOf(e); x.Condition != "policy-violation" || x.Type != "wait" {
			t.Errorf("juliet hears %s", e)
		}
		return
	}
}

// TestSameErrors: an error of our own tells nobody whether it was a device or a
// user that was asked for (ERR-17; RFC 6120, section 13.10.2).
func TestSameErrors(t *testing.T) {
	w := world(t, gatewaytest.Options{})
	var heard []string
	for _, to := range []string{"romeo@example.net", "romeo@example.net/orchard", "nobody@example.net", "nobody@example.net/x"} {
		stanza := parseStanza(t, fmt.Sprintf("<message from='juliet@example.com/b' to='%s' type='groupchat' id='x'><body>all</body></message>", to))
		if err := w.XMPP.Send(stanza); err != nil {
			t.Fatal(err)
		}
		e := receive(t, w.XMPP.Stanzas)
		heard = append(heard, strings.ReplaceAll(e.String(), e.Get("from"), "FROM"))
	}
	for _, h := range heard[1:] {
		if h != heard[0] {
			t.Errorf("heard\n%s\nand\n%s", heard[0], h)
		}
	}
}

// TestSize: a request of 1300 bytes as it is written goes out, one of 1301 comes
// back to its sender (RFC 7572, section 6; RFC 3428, section 8).
func TestSize(t *testing.T) {
	var size atomic.Int64
	w := world(t, gatewaytest.Options{Trace: func(r federation.Record) {
		if r.Wire == federation.SIP && r.Out && strings.HasPrefix(string(r.Text), "MESSAGE ") {
			size.Store(int64(len(r.Text)))
		}
	}})
	write := func(n int) {
		t.Helper()
		if err := w.XMPP.Write("juliet", "romeo@example.net", "j1", strings.Repeat("x", n)); err != nil {
			t.Fatal(err)
		}
	}
	write(500)
	<-w.SIP.Requests
	body := 500 + 1300 - int(size.Load())
	write(body) // the length of the length is the same: three digits
	if <-w.SIP.Requests; size.Load() != 1300 {
		t.Errorf("a body of %d bytes makes %d, want 1300", body, size.Load())
	}
	write(body + 1)
	if e := receive(t, w.XMPP.Stanzas); xep.ErrorOf(e).Condition != "policy-violation" || xep.ErrorOf(e).Type != "modify" {
		t.Errorf("juliet hears %s", e)
	}
}

// TestCeiling: a message of 200 KB passes the door of either wire, and one over
// the operator's limit is refused in the wire's own words (MSG-75).
func TestCeiling(t *testing.T) {
	w := world(t, gatewaytest.Options{YAML: "limits: {message: 20000}\npeers: {example.net: {pager_size: 200000}}\n"})
	if res, err := w.SIP.Write("romeo", "juliet@example.com", strings.Repeat("x", 15_000)); err != nil || res.StatusCode != 200 {
		t.Errorf("15,000 bytes: %v, %v", res, err)
	}
	if e := receive(t, w.XMPP.Stanzas); len(e.Child(xep.NS, "body").Text()) != 15_000 {
		t.Errorf("juliet has received %d bytes", len(e.String()))
	}
	if res, err := w.SIP.Write("romeo", "juliet@example.com", strings.Repeat("x", 21_000)); err == nil && res.StatusCode != 413 && res.StatusCode != 513 {
		t.Errorf("21,000 bytes: %v, %v", res, err)
	}
	if err := w.XMPP.Write("juliet", "romeo@example.net", "j1", strings.Repeat("x", 10_000)); err != nil {
		t.Fatal(err)
	}
	if req := <-w.SIP.Requests; len(req.Body()) != 10_000 {
		t.Errorf("romeo has received %d bytes", len(req.Body()))
	}
	if err := w.XMPP.Write("juliet", "romeo@example.net", "j2", strings.Repeat("x", 21_000)); err != nil {
		t.Fatal(err)
	}
	if e := receive(t, w.XMPP.Stanzas); e.Get("id") != "j2" || xep.ErrorOf(e).Condition != "policy-violation" {
		t.Errorf("juliet hears %s", e)
	}
}

// TestBorderSize is the same limit between two SIP domains, where the sender
// hears 513, and where the operator knows the way to be safe, his own.
func TestBorderSize(t *testing.T) {
	w := world(t, gatewaytest.Options{YAML: "peers: {safe.example: {pager_size: 20000}}\n"})
	strict, safe := sipDomain(t, w, "any.example", "tybalt"), sipDomain(t, w, "safe.example", "tybalt")
	for _, tt := range []struct {
		to     *gatewaytest.SIPDomain
		n      int
		status int
	}{{strict, 500, 200}, {strict, 1300, 513}, {safe, 1300, 200}, {safe, 20_000, 513}} {
		res, err := w.SIP.Write("romeo", "tybalt@"+tt.to.Domain, strings.Repeat("x", tt.n))
		if err != nil || res.StatusCode != tt.status {
			t.Errorf("%d bytes to %s: %v, %v", tt.n, tt.to.Domain, res, err)
		}
		if tt.status != 200 {
			continue
		}
		if req := <-tt.to.Requests; len(req.Body()) != tt.n {
			t.Errorf("%s has received %d bytes", tt.to.Domain, len(req.Body()))
		}
	}
	if len(strict.Requests)+len(safe.Requests) > 0 {
		t.Error("more was received")
	}
}
