package gateway_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"cpimgate/federation/locate"
	"cpimgate/gateway/gatewaytest"
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
