package s2s_test

import (
	"strings"
	"testing"
	"time"

	"cpimgate/federation"
)

// accepts takes the stream that was dialled up to db:result, and reports false
// if it ends before.
func (r *raw) accepts() bool {
	defer func() { r.in = nil }()
	answer := "<stream:stream " + streamNS + " from='b.example' to='a.example' id='1' version='1.0'><stream:features>" + offerDialback + offerSM + "</stream:features>"
	buf := make([]byte, 4096)
	for _, text := range []string{" version='1.0'>", "</db:result>"} {
		for !strings.Contains(string(r.in), text) {
			n, err := r.nc.Read(buf)
			if r.in = append(r.in, buf[:n]...); err != nil {
				return false
			}
		}
		if _, err := r.nc.Write([]byte(answer)); err != nil {
			return false
		}
		answer = ""
	}
	return true
}

// Whatever a peer says about what we have sent, each stanza has one outcome, and
// what we say stays well-formed.
func FuzzAcknowledgement(f *testing.F) {
	for _, text := range []string{"", ackOf(1), ackOf(2) + ackOf(2), ackOf(3), askAck + ackOf(0), ackOf(2) + ackOf(1), "<a xmlns='urn:xmpp:sm:3' h='-1'/>",
		"<a xmlns='urn:xmpp:sm:3'/>", enabled, resumed("1"), smFailed(""), "</stream:stream>", "<message/>", "<a"} {
		f.Add([]byte(text), []byte(resumed("1")))
		f.Add([]byte(""), []byte(text))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
			outs := []chan outcome{a.send("juliet@b.example", "one"), a.send("juliet@b.example", "two")}
			over := make(chan struct{})
			ended := make(chan struct{})
			go func() { // waited for below
				defer close(ended)
				for says := canBe + string(first); ; says = string(second) {
					select {
					case <-over:
						return
					case r := <-p.dialed:
						if !r.accepts() { // we go
							continue
						}
						wrote := make(chan struct{})
						go func() { // waited for below
							defer close(wrote)
							r.nc.Write([]byte(valid + says))
						}()
						got := readFor(r, time.Minute)
						r.nc.Close()
						<-wrote
						wellFormed(t, "<stream:stream "+streamNS+">"+got)
					}
				}
			}()
			for _, c := range outs {
				if o := wait(t, c); (o.how == federation.GivenUp) != (o.err != nil) {
					t.Errorf("outcome %+v", o)
				}
			}
			a.stop()
			close(over)
			<-ended
			for _, c := range outs {
				if len(c) > 0 {
					t.Errorf("a second outcome: %+v", <-c)
				}
			}
		})
	})
}
