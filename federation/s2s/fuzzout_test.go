package s2s_test

import (
	"strings"
	"testing"
	"time"

	"cpimgate/federation"
)

// accepts takes the stream that was dialled up to db:result, and reports false
// if it ends before.
func (r *raw) accepts(both bool) bool {
	defer func() { r.in = nil }()
	answer := "<stream:stream " + streamNS + " from='b.example' to='a.example' id='1' version='1.0'><stream:features>" + offerDialback + offerSM
	if both {
		answer += offerBidi
	}
	answer += "</stream:features>"
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

// Whatever a peer says about what we have sent, and of its own on a stream that is
// used both ways, each stanza has one outcome, what we say stays well-formed, and
// the handler gets stanzas of the peer only.
func FuzzAcknowledgement(f *testing.F) {
	for _, text := range []string{"", ackOf(1), ackOf(2) + ackOf(2), ackOf(3), askAck + ackOf(0), ackOf(2) + ackOf(1), "<a xmlns='urn:xmpp:sm:3' h='-1'/>",
		"<a xmlns='urn:xmpp:sm:3'/>", enabled, resumed("1"), smFailed(""), "</stream:stream>", "<message/>", "<a",
		chat("juliet@b.example", "romeo@a.example", "x") + askAck, chat("x@c.example", "romeo@a.example", "x"), result("c.b.example", "a.example", "key")} {
		for _, both := range []bool{false, true} {
			f.Add(both, []byte(text), []byte(resumed("1")))
			f.Add(both, []byte(""), []byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, both bool, first, second []byte) {
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
						if !r.accepts(both) { // we go, or it is for db:verify
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
			for len(a.got) > 0 {
				if in := <-a.got; !both || !in.peer.SpeaksFor("b.example") {
					t.Errorf("the handler got %+v", in)
				}
			}
		})
	})
}
