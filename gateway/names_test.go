package gateway

import (
	"os"
	"path/filepath"
	"testing"

	"mellium.im/xmpp/jid"

	"cpimgate/cpim/xep"
	"cpimgate/federation/trust/trusttest"
	"cpimgate/gateway/config"
	"cpimgate/gateway/policy"
	"cpimgate/mapping"
)

// TestGatewayName: only the home may use its gateway name (GW-14, RES-23;
// decision D-74), and no name leads to a domain that is not allowed (D-73).
func TestGatewayName(t *testing.T) {
	dir := t.TempDir()
	ca, err := trusttest.NewCA("small authority")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := ca.Files(dir, trusttest.Options{DNS: []string{"example.org", "sip.example.org"}}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "cpimgate.yaml")
	yaml := `domains: {example.org: {users: xmpp, gateway: sip.example.org}}
tls: {cert: cert.pem, key: key.pem}
peers: {bad.example: {allow: false}}
listen: {sip: "127.0.0.1:0", sips: off, xmpp: "127.0.0.1:0", xmpps: off, admin: off}
dns: {resolvers: ["127.0.0.1:53"]}
`
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	settings, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{Settings: settings, Roots: ca.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer g.open.close()
	for _, tt := range []struct {
		from, to  string
		condition string
		rule      policy.Rule
	}{
		{"juliet@example.org/b", `romeo\40good.example@sip.example.org`, "", ""},
		{"juliet@example.org/b", `romeo\40bad.example@sip.example.org`, "not-allowed", policy.Allow},
		{"juliet@example.org/b", `romeo\40BAD.example@sip.example.org`, "not-allowed", policy.Allow},
		{"juliet@other.example/b", `romeo\40good.example@sip.example.org`, "not-allowed", policy.NotServed},
		{"juliet@bad.example/b", `romeo\40good.example@sip.example.org`, "not-allowed", policy.NotServed},
		{"juliet@example.org/b", "romeo@other.example", "not-allowed", policy.NotServed},
	} {
		err := xmppDoor{g, nil}.xmppParties(&arrival{h: xep.Header{From: jid.MustParse(tt.from), To: jid.MustParse(tt.to)}})
		if (err == nil) != (tt.condition == "") {
			t.Errorf("%s to %s: %v", tt.from, tt.to, err)
		}
		if err == nil {
			continue
		}
		r, ok := err.(*policy.Refused)
		if e := mapping.FaultToXMPP(err, "sip.example.org"); !ok || r.Rule != tt.rule || e.Condition != tt.condition || e.Type != "cancel" {
			t.Errorf("%s to %s: %v is told as %v", tt.from, tt.to, err, e)
		}
	}
}
