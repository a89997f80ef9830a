package talk

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/xep"
	"cpimgate/federation"
	"cpimgate/gateway/step"
)

// TestDated: a secured object arrives whatever its date, and the log has a word
// about one that is more than a day off (E2E-06; RFC 3923, section 6.9).
func TestDated(t *testing.T) {
	const head = `Content-Type: multipart/signed; boundary=next; micalg=sha1; protocol="application/pkcs7-signature"`
	object := func(at time.Time) string {
		return "--next\r\nContent-Type: message/cpim\r\n\r\nFrom: <im:juliet@example.com>\r\nTo: <im:romeo@example.net>\r\nDateTime: " +
			at.UTC().Format(time.RFC3339) + "\r\n\r\nContent-Type: text/plain\r\n\r\nHark\r\n--next\r\nContent-Type: application/pkcs7-signature\r\n\r\nx\r\n--next--"
	}
	for _, tt := range []struct {
		off  time.Duration
		said bool
	}{{0, false}, {-23 * time.Hour, false}, {-49 * time.Hour, true}, {25 * time.Hour, true}} {
		toSIP := &Talk{}
		m := words("m1")
		m.E2E = "\n" + head + "\n\n" + strings.ReplaceAll(object(epoch.Add(tt.off)), "\r\n", "\n") + "\n"
		toSIP.Step(now(), got(m))
		if toSIP.Flying == nil {
			t.Fatal("nothing was sent to SIP")
		}
		one := toSIP.Step(now(), step.Response{Of: toSIP.Flying.Ref, SIP: sip.NewResponse(200, "OK")})

		toXMPP := &Talk{KnownUntil: epoch.Add(time.Hour)}
		toXMPP.Step(now(), request(object(epoch.Add(tt.off)), strings.TrimPrefix(head, "Content-Type: ")))
		if len(toXMPP.Waiting) != 1 {
			t.Fatal("nothing was sent to XMPP")
		}
		other := toXMPP.Step(now(), step.Taken{Of: toXMPP.Waiting[0].Ref, How: federation.Written})
		for _, effects := range [][]step.Effect{one, other} {
			end := ending(effects)
			if said := strings.Contains(end.Reason, "more than a day off"); end.Outcome != step.Delivered || said != tt.said {
				t.Errorf("%v off: %v", tt.off, end)
			}
		}
	}
	for _, other := range []string{"", "Content-Type: application/pkcs7-mime\n\nMII", head + "\n\n--next\nContent-Type: text/plain\n\nHark\n--next--"} {
		s := &said{Talk: &Talk{}, now: now()}
		if remark := s.dated(&xep.Message{E2E: other}); remark != "" {
			t.Errorf("%q: %s", other, remark)
		}
	}
}

func now() step.Now {
	n := 0
	return step.Now{Time: epoch, ID: func() string { n++; return fmt.Sprint("n", n) }}
}

// ending returns how a message ended.
func ending(effects []step.Effect) step.End {
	for _, e := range effects {
		if end, ok := e.(step.End); ok {
			return end
		}
	}
	return step.End{}
}
