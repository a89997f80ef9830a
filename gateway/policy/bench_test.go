package policy

import (
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// BenchmarkAdmit is what the door costs each message.
func BenchmarkAdmit(b *testing.B) {
	block, err := NewList([]string{"spam.example", "*.bad.example", "tybalt@a.example"})
	if err != nil {
		b.Fatal(err)
	}
	e := New(Limits{PerSender: 1e12, PerPeer: 1e12, Strangers: 1e12}, block)
	now := time.Unix(1000, 0)
	from := sip.Uri{Scheme: "sip", User: "romeo", Host: "montague.example"}
	to := sip.Uri{Scheme: "sip", User: "juliet", Host: "capulet.example"}
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Admit(now, from.Host, from, to); err != nil {
			b.Fatal(err)
		}
	}
}
