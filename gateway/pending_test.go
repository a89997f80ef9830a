package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emiago/sipgo/sip"

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
