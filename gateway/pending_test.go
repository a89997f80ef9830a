package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/xep"
	"cpimgate/gateway/gatewaytest"
)

// TestPending: of a burst, one MESSAGE of each sender to each user is on its way
// at a time, from XMPP and from another SIP domain alike; the others follow in
// their order, and nobody waits for what somebody else has written (RFC 3428,
// section 8; decisions D-62 and D-92).
func TestPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world(t, gatewaytest.Options{Net: gatewaytest.NewMemory(), SIPUsers: []string{"romeo", "benvolio"}})
		other := unlisted(t, w, "example.org")
		w.SIP.Script()
		senders := []string{"juliet@example.com", "nurse@example.com", "tybalt@example.org"}
		for i := range 3 {
			for _, from := range senders {
				for _, to := range []string{"romeo", "benvolio"} {
					text := fmt.Sprintf("%s to %s: %d", from, to, i)
					user, domain, _ := strings.Cut(from, "@")
					if domain == "example.org" {
						go other.Write(user, to+"@example.net", text) // ends with the answer below
					} else if err := w.XMPP.Write(user, to+"@example.net", text, text); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
			}
		}
		for i := range 3 {
			var came []string
			for len(w.SIP.Requests) > 0 {
				came = append(came, string((<-w.SIP.Requests).Body()))
			}
			slices.Sort(came)
			var want []string
			for _, from := range senders {
				want = append(want, fmt.Sprintf("%s to benvolio: %d", from, i), fmt.Sprintf("%s to romeo: %d", from, i))
			}
			if !slices.Equal(came, want) {
				t.Fatalf("at once there came %q, want %q", came, want)
			}
			for range came {
				if err := w.SIP.Answer(sip.NewResponse(200, "OK")); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
		}
		if n := len(w.SIP.Requests); n > 0 {
			t.Errorf("%d too many", n)
		}
	})
}

// TestManyInOrder: a hundred messages of each of two users to the other stay in
// their order, though all wait (RFC 6120, section 10.1; RFC 3428, section 8).
func TestManyInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		w := world(t, gatewaytest.Options{Net: gatewaytest.NewMemory(), YAML: "limits: {per_sender: 1000}\n"})
		w.SIP.Script()
		w.XMPP.Hold()
		for i := range n {
			go w.SIP.Write("romeo", "juliet@example.com", fmt.Sprint(i)) // ends when they are taken, below
			synctest.Wait()
			if err := w.XMPP.Write("juliet", "romeo@example.net", fmt.Sprint("j", i), fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		w.XMPP.Admit()
		for i := range n {
			if e := <-w.XMPP.Stanzas; e.Child(xep.NS, "body").Text() != fmt.Sprint(i) {
				t.Fatalf("juliet has received, as number %d, %s", i, e)
			}
			if req := <-w.SIP.Requests; string(req.Body()) != fmt.Sprint(i) {
				t.Fatalf("romeo has received, as number %d, %s", i, req)
			}
			if err := w.SIP.Answer(sip.NewResponse(200, "OK")); err != nil {
				t.Fatal(err)
			}
		}
	})
}
