package gateway_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/gateway/gatewaytest"
)

// TestChallenge: a SIP domain that asks for a password gets the one that the
// operator has written down, and the message is delivered; without one the
// sender is told, and not with a challenge that he could not meet (MSG-24,
// ERR-05; RFC 3261, section 22).
func TestChallenge(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("example.net gw s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, yaml string
		delivered  bool
	}{
		{"with", "peers: {example.net: {credentials_file: " + secret + "}}\n", true},
		{"without", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := world(t, gatewaytest.Options{YAML: tt.yaml})
			w.SIP.Script()
			if err := w.XMPP.Write("juliet", "romeo@example.net", "j1", "Hark"); err != nil {
				t.Fatal(err)
			}
			<-w.SIP.Requests
			challenge := sip.NewResponse(sip.StatusUnauthorized, "Unauthorized")
			challenge.AppendHeader(sip.NewHeader("WWW-Authenticate", `Digest realm="example.net", nonce="n1", algorithm=SHA-256, qop="auth"`))
			if err := w.SIP.Answer(challenge); err != nil {
				t.Fatal(err)
			}
			if !tt.delivered {
				if e := receive(t, w.XMPP.Stanzas); e.Get("id") != "j1" || e.Get("type") != "error" {
					t.Errorf("juliet hears %s", e)
				}
				return
			}
			if req := <-w.SIP.Requests; sipx.Value(req, "Authorization") == "" {
				t.Errorf("no answer to the challenge in\n%s", req)
			}
			if err := w.SIP.Answer(sip.NewResponse(200, "OK")); err != nil {
				t.Error(err)
			}
		})
	}
}
