package gateway_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"cpimgate/cpim/xep"
	"cpimgate/gateway/gatewaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStop: a gateway that is told to stop leaves nobody in the dark. Who waits
// for SIP hears an error stanza, for messages that were sent and for those that
// waited their turn; who waits for XMPP hears a final response; and nothing of
// the gateway lives on.
func TestStop(t *testing.T) {
	w := world(t, gatewaytest.Options{})
	w.SIP.Script() // romeo's client never answers
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() // takes connections and says nothing
	err = w.Add(fmt.Sprintf("_xmpp-server._tcp.slow.example. SRV 0 0 %d slow.example.\nslow.example. A 127.0.0.1\n", silent.Addr().(*net.TCPAddr).Port))
	if err != nil {
		t.Fatal(err)
	}

	const n = 3
	for i := range n {
		if err := w.XMPP.Write("juliet", "romeo@example.net", fmt.Sprint("j", i), "Hark"); err != nil {
			t.Fatal(err)
		}
	}
	<-w.SIP.Requests
	answer := make(chan *sip.Response, 1)
	go func() {
		res, err := w.SIP.Write("romeo", "juliet@slow.example", "Art thou there?")
		if err != nil {
			t.Error(err)
		}
		answer <- res
	}()
	conn, err := silent.Accept() // the message is on its way
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	w.Stop()
	heard := map[string]bool{}
	for range n {
		e := receive(t, w.XMPP.Stanzas)
		if e.Get("type") != "error" || xep.ErrorOf(e).Type != "wait" {
			t.Errorf("juliet hears %s", e)
		}
		heard[e.Get("id")] = true
	}
	if len(heard) != n {
		t.Errorf("juliet hears of %v only", heard)
	}
	select {
	case res := <-answer:
		if res.StatusCode != 503 && res.StatusCode != 504 && res.StatusCode != 480 {
			t.Errorf("romeo is answered %d %s", res.StatusCode, res.Reason)
		}
	case <-time.After(patience):
		t.Error("romeo is not answered")
	}
}
