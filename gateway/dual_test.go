package gateway_test

import (
	"testing"

	"cpimgate/cpim/sipx"
	"cpimgate/gateway/gatewaytest"
	"cpimgate/testdata"
)

const call = `INVITE sip:juliet@example.com SIP/2.0
Max-Forwards: 70
To: <sip:juliet@example.com>
From: <sip:romeo@example.net>;tag=vwxyz
Call-ID: c1
CSeq: 1 INVITE
Contact: <sip:romeo@192.0.2.7>
Call-Info: <xmpp:romeo@example.net>;purpose=impp
Content-Type: application/sdp
Content-Length: 112

v=0
o=- 1 1 IN IP4 192.0.2.7
s=-
c=IN IP4 192.0.2.7
t=0 0
m=audio 49170 RTP/AVP 0
m=video 51372 RTP/AVP 31
`

// TestDualStack: people whose domain speaks both protocols, and whose clients
// do, are left to it (RFC 7081): who writes to them on SIP reaches them on SIP,
// and a call is not for us (decision D-85).
func TestDualStack(t *testing.T) {
	w := world(t, gatewaytest.Options{})
	both := sipDomain(t, w, "example.org", "benvolio")
	if err := w.Add("_xmpp-server._tcp.example.org. SRV 0 0 5269 example.org.\n"); err != nil {
		t.Fatal(err)
	}
	if res, err := w.SIP.Write("romeo", "benvolio@example.org", "Good morrow"); err != nil || res.StatusCode != 200 {
		t.Errorf("romeo is answered %v, %v", res, err)
	}
	if req := <-both.Requests; req.From().Address.User != "romeo" || string(req.Body()) != "Good morrow" {
		t.Errorf("benvolio has received %s", req)
	}
	req := parse(t, testdata.CRLF(call))
	res, err := w.SIP.Send(req)
	if err != nil || res.StatusCode != 488 || sipx.Value(res, "Allow") != "OPTIONS, MESSAGE" {
		t.Errorf("a call is answered %v, %v", res, err)
	}
	if len(w.XMPP.Stanzas) > 0 {
		t.Errorf("juliet has received %s", <-w.XMPP.Stanzas)
	}
}
