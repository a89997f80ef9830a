package s2s_test

import (
	"testing"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// A request of ours is answered once: by whom it was sent to, on the peer's
// stream; or by a fault (RFC 6120, section 8.2.3).
func TestQuery(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		type answer struct {
			e   *xmltree.Element
			err error
		}
		ask := func(to, id string) chan answer {
			c := make(chan answer, 2)
			e := xmltree.New(xep.NS, "iq", xmltree.New("made:up", "x")).With("from", "a.example").With("to", to).With("type", "get").With("id", id)
			a.Query(e, time.Now().Add(20*time.Second), func(e *xmltree.Element, err error) { c <- answer{e, err} })
			return c
		}
		one, two := ask("juliet@b.example/x", "1"), ask("b.example", "1")
		if twice := wait(t, ask("b.example", "1")); fault.KindOf(twice.err) != fault.Internal {
			t.Errorf("the same id twice: %v", twice.err)
		}
		r := (<-p.dialed).valid()
		r.expect("</iq>")
		r.expect("</iq>")
		back := a.reverse(p)
		back.send("<iq from='juliet@b.example/y' to='a.example' type='result' id='1'/>", "<iq from='juliet@b.example/x' to='romeo@a.example' type='result' id='1'/>")
		back.send("<iq from='juliet@b.example/x' to='a.example' type='error' id='1'><error type='cancel'/></iq>", "<iq from='juliet@b.example/x' to='a.example' type='result' id='1'/>")
		if got := wait(t, one); got.err != nil || got.e.Get("type") != "error" || got.e.Get("from") != "juliet@b.example/x" {
			t.Errorf("got %v, %v", got.e, got.err)
		}
		start := time.Now()
		if got := wait(t, two); fault.KindOf(got.err) != fault.Timeout {
			t.Errorf("got %v, %v", got.e, got.err)
		}
		after(t, start, 20*time.Second)
		r.nc.Close()
		back.nc.Close()
		if got := wait(t, ask("x@nowhere.example", "1")); fault.KindOf(got.err) != fault.NoRoute {
			t.Errorf("got %v", got.err)
		}
		last := ask("b.example", "last")
		(<-p.dialed).nc.Close()
		a.stop()
		if got := wait(t, last); got.err == nil {
			t.Errorf("got %v", got.e)
		}
		if len(one) > 0 || len(two) > 0 {
			t.Error("answered twice")
		}
	})
}
