package gateway_test

import (
	"context"
	"testing"

	"cpimgate/gateway/gatewaytest"
)

// TestBorder: a message crosses between two SIP domains through the same doors,
// limits and promises; neither may speak for the other, and a domain that
// speaks XMPP is still reached by it (RFC 7247, section 5; RES-02, RES-03).
func TestBorder(t *testing.T) {
	w := world(t, gatewaytest.Options{})
	other, err := gatewaytest.NewSIPDomain(gatewaytest.Settings{
		Domain: "example.org", Users: []string{"tybalt"}, CA: w.CA, Resolver: w.Zone, Roots: w.CA.Pool(),
	})
	if err != nil {
		t.Fatal(err)
	}
	other.Border("gw.example.net")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- other.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	<-other.Ready()
	if err := w.Add(other.Zone()); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name     string
		from     *gatewaytest.SIPDomain
		user, to string
		status   int
		receives *gatewaytest.SIPDomain
	}{
		{"out", w.SIP, "romeo", "tybalt@example.org", 200, other},
		{"in", other, "tybalt", "romeo@example.net", 200, w.SIP},
		{"out to nobody", w.SIP, "romeo", "nobody@example.org", 404, nil},
		{"in to nobody", other, "tybalt", "nobody@example.net", 404, nil},
		{"through us to a third", other, "tybalt", "juliet@example.com", 403, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const words = "Draw, if you be men."
			res, err := tt.from.Write(tt.user, tt.to, words)
			if err != nil || res.StatusCode != tt.status {
				t.Fatalf("answer %v, %v; want %d", res, err, tt.status)
			}
			if tt.receives == nil {
				return
			}
			if req := <-tt.receives.Requests; string(req.Body()) != words || req.From().Address.User != tt.user {
				t.Errorf("received %s", req)
			}
		})
	}
	if res, err := w.SIP.Write("romeo", "juliet@example.com", "Hark"); err != nil || res.StatusCode != 200 {
		t.Errorf("to XMPP: %v, %v", res, err)
	}
	if e := receive(t, w.XMPP.Stanzas); e.Get("from") != "romeo@example.net" {
		t.Errorf("juliet has received %s", e)
	}
}
