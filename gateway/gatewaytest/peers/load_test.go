package peers

import "testing"

// TestLoadTool shows that the load tool counts right where we have no part:
// through Kamailio alone and through Prosody alone.
func TestLoadTool(t *testing.T) {
	n := New(t)
	n.Zone(`
_sip._udp.sip SRV 0 0 5060 server.sip
server.sip    A   NET.10
`)
	n.StartKamailio(KamailioConfig{Domain: "sip.example", Host: 10, Memory: 1024})
	n.StartProsody(ProsodyConfig{Domain: "xmpp.example", Host: 20, Users: LoadUsers(3, 4), SecureAuth: true})
	out, err := n.Load("count", "--pairs=4", "--messages=200", "--timeout=20s",
		"sip+udp://NET.10:5060/sip.example sip+udp://NET.10:5060/sip.example",
		"sip+tcp://NET.10:5060/sip.example sip+tls://NET.10:5061/sip.example",
		"xmpp://NET.20:5223/xmpp.example xmpp://NET.20:5223/xmpp.example",
	)
	t.Log(out)
	if err != nil {
		t.Error(err)
	}
}
