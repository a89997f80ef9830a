package s2s_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// Whatever comes in, before or after authentication, the stream ends in bounded
// time, what we say is a well-formed stream, and the handler gets stanzas of the
// peer only.
func FuzzInbound(f *testing.F) {
	ok := chat("juliet@b.example", "romeo@a.example", "x")
	for _, text := range []string{
		"", " ", head("b.example", "a.example"), startTLS, auth("b.example"), auth("="), result("b.example", "a.example", "key"),
		"<db:verify from='b.example' to='a.example' id='1'>x</db:verify>", "<db:verify from='b.example' to='a.example' type='valid'/>",
		enable + ok + askAck, enable + enable, enable + ackOf(1), resume, "<enable xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='x'/>",
		ok, ok + ok, ok + "</stream:stream>", chat("x@c.example", "y@a.example", "z"), "<!-- -->", "<foo/>", "<message/>", "\xff\xfe<",
		"<iq from='juliet@b.example' to='a.example' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
		"<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
		"<message from='juliet@b.example' to='a.example'>" + strings.Repeat("<x>", 60),
		askBidi, enable + ok + ackOf(1) + askAck, result("c.example", "a.example", "key"), "<db:result from='c.example' to='a.example' type='valid'/>",
	} {
		for state := range byte(4) {
			f.Add(state, []byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, state byte, data []byte) {
		bubble(t, federation.Limits{Message: 10_000}, func(t *testing.T, a *domain, p *pipes) {
			start := time.Now()
			over := make(chan struct{})
			ended := make(chan struct{})
			go func() { // waited for below
				defer close(ended)
				authorities(p, over)
			}()
			r := p.call()
			if state%4 > 0 {
				r.send(head("b.example", "a.example")).expect("</stream:features>")
			}
			if state%4 > 2 { // used both ways
				r.send(askBidi)
			}
			if state%4 > 1 {
				r.send(result("b.example", "a.example", "key")).expect("type='valid'></db:result>")
			}
			out := a.send("juliet@b.example", "x")
			wrote := make(chan struct{})
			go func() { // waited for below
				defer close(wrote)
				r.nc.Write(data)
			}()
			got := readFor(r, 2*time.Hour)
			r.nc.Close()
			<-wrote
			if d := time.Since(start); d > 45*time.Minute {
				t.Errorf("the stream went on for %v", d)
			}
			if state%4 > 0 {
				got = "<stream:stream " + streamNS + ">" + got
			}
			wellFormed(t, got)
			for len(a.got) > 0 {
				if in := <-a.got; !in.peer.SpeaksFor("b.example") || in.peer.Proof != federation.Dialback || state%4 < 1 && !bytes.Contains(data, []byte("db:result")) {
					t.Errorf("the handler got %+v", in)
				}
			}
			a.stop()
			close(over)
			<-ended
			if len(out) != 1 {
				t.Errorf("%d outcomes", len(out))
			}
		})
	})
}

// authorities are servers of b.example that find all keys valid, and take all
// that is sent to them.
func authorities(p *pipes, over chan struct{}) {
	for {
		select {
		case <-over:
			return
		case r := <-p.dialed:
			buf := make([]byte, 4096)
			read := func(text string) string {
				var b strings.Builder
				for !strings.Contains(b.String(), text) {
					n, err := r.nc.Read(buf)
					b.Write(buf[:n])
					if err != nil {
						return ""
					}
				}
				return b.String()
			}
			read(" version='1.0'>")
			io.WriteString(r.nc, "<stream:stream "+streamNS+" from='b.example' to='a.example' id='1' version='1.0'><stream:features>"+offerDialback+"</stream:features>")
			if m := verifyID.FindStringSubmatch(read("</db:")); m != nil {
				io.WriteString(r.nc, "<db:verify from='b.example' to='a.example' id='"+m[2]+"' type='valid'/>")
			}
			r.nc.Close() // who wanted to send gives up
		}
	}
}

// wellFormed fails the test if text is not a stream as far as it goes.
func wellFormed(t *testing.T, text string) {
	t.Helper()
	if text == "" {
		return
	}
	r := xmltree.NewReader(strings.NewReader(text), xmltree.Limits{})
	_, err := r.Open()
	for err == nil {
		_, err = r.Next()
	}
	if err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v in what we say: %s", err, text)
	}
}
