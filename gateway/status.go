package gateway

import (
	"errors"
	"time"

	"cpimgate/gateway/admin"
)

// status is what the gateway shows of itself: it implements [admin.Status].
type status struct{ *Gateway }

// Healthy implements [admin.Status].
func (g status) Healthy() error {
	if !g.serving.Load() {
		return errors.New("not serving: starting or stopping")
	}
	return nil
}

// Load implements [admin.Status].
func (g status) Load() (conversations, events int) { return g.shards.Load() }

// Peers implements [admin.Status].
func (g status) Peers() map[admin.PeerKind]int {
	n := map[admin.PeerKind]int{}
	for _, p := range g.trunk.Peers() {
		direction := "in"
		if p.Dialled {
			direction = "out"
		}
		n[admin.PeerKind{Wire: "SIP", Direction: direction}]++
	}
	for _, p := range g.s2s.Peers() {
		direction := "out"
		if p.Inbound {
			direction = "in"
		}
		if p.Up {
			n[admin.PeerKind{Wire: "XMPP", Direction: direction}]++
		}
	}
	return n
}

// Expiry implements [admin.Status].
func (g status) Expiry() map[string]time.Time {
	ends := map[string]time.Time{}
	for _, c := range g.trust.Expiry() {
		if len(c.Names) > 0 {
			ends[c.Names[0]] = c.NotAfter
		}
	}
	return ends
}
