package talk

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/composing"
	"cpimgate/cpim/xep"
	"cpimgate/gateway/step"
	"cpimgate/testdata"
)

// TestTimeline plays the sender's side of RFC 3994, section 3.2 with an XMPP
// user at the keys: composing is a key struck, paused is the end of it. What
// differs: the client's own "paused" ends the composing, not a timer of ours,
// and while it goes on we refresh when the client says composing again.
func TestTimeline(t *testing.T) {
	testdata.Vectors(t, "rfc3994", "own-sender-timeline", func(t *testing.T, c *testdata.Case) {
		var v struct {
			IdleTimeout int `json:"idle_timeout"`
			Refresh     int `json:"refresh"`
			Events      []struct {
				T   int     `json:"t"`
				In  string  `json:"in"`
				Out *string `json:"out"`
			} `json:"events"`
		}
		c.JSON(&v)
		talk := &Talk{}
		for _, e := range v.Events {
			m := words("m")
			switch {
			case strings.HasPrefix(e.In, "keystroke"):
				m = &xep.Message{From: juliet.JID, To: romeo.JID, State: xep.Composing}
			case strings.HasPrefix(e.In, "none"):
				m = &xep.Message{From: juliet.JID, To: romeo.JID, State: xep.Paused}
			}
			want := ""
			if e.Out != nil {
				want, _, _ = strings.Cut(*e.Out, " ")
			}
			if got := said1(t, talk, epoch.Add(time.Duration(e.T)*time.Second), got(m)); got != want {
				t.Errorf("%d s, %s: %q, want %q", e.T, e.In, got, want)
			}
		}
		if v.Refresh < int(composing.MinRefresh.Seconds()) || v.IdleTimeout <= 0 {
			t.Errorf("a timeline that RFC 3994 does not allow: %+v", v)
		}
	})
}

// said1 tells an event and returns what SIP is told: a state, "content", or
// nothing. Each is taken at once.
func said1(t *testing.T, talk *Talk, at time.Time, ev step.Event) string {
	t.Helper()
	now := step.Now{Time: at, ID: func() string { return "id" }}
	said := ""
	for _, e := range talk.Step(now, ev) {
		send, ok := e.(step.SendSIP)
		if !ok {
			continue
		}
		said = "content"
		if s, err := composing.Parse(send.Request.Body()); err == nil {
			said = s.State
		}
		talk.Step(now, step.Response{Of: send.Ref, SIP: sip.NewResponse(200, "OK")})
	}
	return said
}
