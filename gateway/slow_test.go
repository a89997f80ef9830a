package gateway_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/federation/locate"
	"cpimgate/gateway/gatewaytest"
	"cpimgate/testdata"
)

// slow is a DNS that takes its time for each first question about a domain.
type slow struct {
	*locate.Static
	domain string
	takes  time.Duration
}

// Lookup implements [locate.Resolver].
func (s slow) Lookup(ctx context.Context, name string, qtype uint16) (locate.Answer, error) {
	if name == s.domain+"." || name == s.domain {
		time.Sleep(s.takes) // of the bubble
	}
	return s.Static.Lookup(ctx, name, qtype)
}

// TestSlowNames: the time that it takes to find a domain is of the twenty
// seconds within which every message has its final answer, and what was answered
// 504 is not sent on afterwards (decision D-70; RFC 4320, section 4.2).
func TestSlowNames(t *testing.T) {
	for _, takes := range []time.Duration{time.Second, 15 * time.Second, 25 * time.Second} {
		t.Run(takes.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, gatewaytest.Options{
					Net:   gatewaytest.NewMemory(),
					Names: func(zone *locate.Static) locate.Resolver { return slow{zone, "example.com", takes} },
				})
				w.XMPP.Hold() // a server that does not say a word
				start := time.Now()
				res, err := w.SIP.Write("romeo", "juliet@example.com", "Hark")
				if took := time.Since(start); err != nil || res.StatusCode != 504 || took > 20*time.Second {
					t.Errorf("after %v: %v, %v", took, res, err)
				}
				w.XMPP.Admit()
				time.Sleep(time.Hour)
				if len(w.XMPP.Stanzas) > 0 {
					t.Errorf("and yet juliet has received %s", <-w.XMPP.Stanzas)
				}
			})
		})
	}
}

// TestGoodUntil: a message that has lost its worth is not sent on, whether it
// waits for a stream or for its turn at another SIP domain, and its sender hears
// so at once. The time is counted from its Date, or else from its arrival (RFC
// 3428, section 7; MSG-21, SIP-19).
func TestGoodUntil(t *testing.T) {
	ago := func(d time.Duration) string {
		return "Date: " + time.Now().Add(-d).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") + "\n"
	}
	for _, tt := range []struct {
		name    string
		fields  func() string
		answer  int
		after   time.Duration // the answer comes
		arrives bool
	}{
		{"from arrival", func() string { return "Expires: 5\n" }, 504, 5 * time.Second, false},
		{"from Date", func() string { return ago(3*time.Second) + "Expires: 5\n" }, 504, 2 * time.Second, false},
		{"over", func() string { return ago(time.Minute) + "Expires: 5\n" }, 504, 0, false},
		{"of no worth", func() string { return "Expires: 0\n" }, 504, 0, false},
		{"long", func() string { return "Expires: 60\n" }, 200, 10 * time.Second, true},
		{"a clock ahead", func() string { return ago(-time.Minute) + "Expires: 5\n" }, 200, 10 * time.Second, true},
		{"no word of it", func() string { return "" }, 200, 10 * time.Second, true},
	} {
		for _, to := range []string{"juliet@example.com", "tybalt@example.org"} {
			t.Run(tt.name+" to "+to, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := world(t, gatewaytest.Options{Net: gatewaytest.NewMemory()})
					other := sipDomain(t, w, "example.org", "tybalt")
					other.Script()
					w.XMPP.Hold()
					if to == "tybalt@example.org" { // it waits for the answer to this one
						go w.SIP.Write("romeo", to, "first")
						synctest.Wait()
						<-other.Requests
					}
					go func() { // ends before the answer
						time.Sleep(10 * time.Second)
						if to == "tybalt@example.org" {
							other.Answer(sip.NewResponse(200, "OK"))
							synctest.Wait()
							other.Answer(sip.NewResponse(200, "OK"))
							return
						}
						w.XMPP.Admit()
					}()
					text := strings.Replace(strings.ReplaceAll(message, "juliet@example.com", to), "Call-ID: c1\n", "Call-ID: c1\n"+tt.fields(), 1)
					start := time.Now()
					res, err := w.SIP.Send(parse(t, testdata.CRLF(text)))
					if err != nil || res.StatusCode != tt.answer {
						t.Fatalf("%v, %v", res, err)
					}
					if took := time.Since(start).Truncate(time.Second); took != tt.after {
						t.Errorf("the answer came after %v, want %v", took, tt.after)
					}
					time.Sleep(time.Minute)
					if n := len(w.XMPP.Stanzas) + len(other.Requests); (n > 0) != tt.arrives || n > 1 {
						t.Errorf("%d have arrived", n)
					}
				})
			})
		}
	}
}
