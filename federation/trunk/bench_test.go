package trunk

import (
	"net"
	"testing"

	"github.com/emiago/sipgo/sip"

	"cpimgate/federation"
)

// BenchmarkExchange is a MESSAGE and its 200 between two trunks over TCP, both
// in this process.
func BenchmarkExchange(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	bk := plain("a.example", "sip:127.0.0.1", "b.example", uriOf(l.Addr(), "tcp"))
	to := places{"b.example": {at("b.example", l.Addr().String(), "tcp")}, "a.example": {at("a.example", "127.0.0.1:5060", "tcp")}}
	limits := federation.Limits{Queue: 100_000}
	from := start(b, Config{Name: "a.example", Book: bk, Locate: to, Limits: limits})
	start(b, Config{TCP: []net.Listener{l}, Book: bk, Locate: to, Limits: limits})
	b.ReportAllocs()
	b.SetParallelism(50)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			done := make(chan result, 1)
			from.Send(message("sip:r@a.example", "sip:j@b.example", "hello"), "b.example", Sending{}, func(res *sip.Response, err error) { done <- result{res, err} })
			if r := <-done; r.status() != 200 {
				b.Error(r.res, r.err)
			}
		}
	})
}
