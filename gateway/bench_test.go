package gateway_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/xmltree"
	"cpimgate/gateway/gatewaytest"
)

// BenchmarkToXMPP and BenchmarkToSIP are the whole way of a message, over TLS on
// loopback, both small domains included: about a third of the price is the
// gateway's. The figures that count are those of the load tool, which runs in
// a process of its own beside Kamailio.
func BenchmarkToXMPP(b *testing.B) {
	w := benchWorld(b)
	w.XMPP.Take = func(*xmltree.Element) {}
	var n atomic.Int64
	b.SetParallelism(16)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		to := fmt.Sprintf("juliet%d@example.com", n.Add(1)%users)
		for pb.Next() {
			if res, err := w.SIP.Write("romeo", to, "Neither, fair saint, if either thee dislike."); err != nil || res.StatusCode != 200 {
				b.Error(res, err)
				return
			}
		}
	})
}

func BenchmarkToSIP(b *testing.B) {
	w := benchWorld(b)
	taken := make(chan struct{}, 1000)
	w.SIP.Take = func(*sip.Request) { taken <- struct{}{} }
	b.ReportAllocs()
	flying := 0
	for i := 0; b.Loop(); i++ {
		if err := w.XMPP.Write(fmt.Sprintf("juliet%d", i%users), "romeo@example.net", "j", "Art thou not Romeo, and a Montague?"); err != nil {
			b.Fatal(err)
		}
		if flying++; flying > 64 {
			<-taken
			flying--
		}
	}
	for range flying {
		<-taken
	}
}

// users is how many there are on the XMPP side, so that nobody waits for his
// turn only.
const users = 100

func benchWorld(b *testing.B) *gatewaytest.World {
	o := gatewaytest.Options{SIPUsers: []string{"romeo"}, YAML: "limits: {per_sender: 1000000, per_peer: 1000000, strangers: 1000000}\n"}
	for i := range users {
		o.XMPPUsers = append(o.XMPPUsers, fmt.Sprint("juliet", i))
	}
	w, err := gatewaytest.NewWorld(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { w.Close() })
	return w
}
