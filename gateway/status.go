package gateway

import (
	"errors"
	"time"

	"cpimgate/federation/s2s"
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
	in, out := g.s2s.Streams()
	n[admin.PeerKind{Wire: "XMPP", Direction: "in"}] = in
	n[admin.PeerKind{Wire: "XMPP", Direction: "out"}] = out
	for _, a := range g.components.list() {
		if a.Status().Up {
			n[admin.PeerKind{Wire: "XMPP", Direction: "component"}]++
		}
	}
	return n
}

// Components implements [admin.Status].
func (g status) Components() map[admin.Component]bool {
	up := map[admin.Component]bool{}
	for _, a := range g.components.list() {
		up[admin.Component{Domain: a.Domain, Server: a.Server}] = a.Status().Up
	}
	return up
}

// streams returns the state of all pairs of domains, those of components
// included.
func (g *Gateway) streams() []s2s.Status {
	all := g.s2s.Peers()
	for _, a := range g.components.list() {
		all = append(all, a.Status())
	}
	return all
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
