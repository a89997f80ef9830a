package trunk

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
	"cpimgate/federation/locate"
)

// identity returns for which domains the sender of a request may speak
// (decision D-72; RFC 5922, section 7.4): those of its certificate, the homes
// whose server the certificate names, the domain for which we have dialled and
// verified the connection; or, where its rules say plain-ok, the domain of
// From, if the request comes from one of that domain's addresses. Whether the
// request stays within them (From, P-Asserted-Identity) is the Handler's to
// check.
func (t *Trunk) identity(a *arrival) (federation.Peer, error) {
	peer := federation.Peer{Addr: a.addr(), Via: a.via()}
	if s := a.stream; s != nil && len(s.names) > 0 {
		peer.Domains, peer.Proof = s.names, federation.Certificate
	}
	domain := hostName(sipx.Resolve(a.req.From().Address).Host)
	if domain == "" || peer.SpeaksFor(domain) {
		return t.proven(peer, domain)
	}
	if t.cfg.Book.Rules(domain).Security != federation.PlainOK {
		return t.proven(peer, domain)
	}
	ok, err := t.livesAt(domain, peer.Addr.Addr(), a.stream)
	switch {
	case ok:
		peer.Domains, peer.Proof = []string{domain}, federation.Address
		return peer, nil
	case peer.Proof != federation.Claimed:
		return peer, nil
	}
	why := "Security of this domain is plain-ok, but none of its addresses in DNS or in the setting \"server\" or \"sip\" is yours"
	return peer, t.forbid(Spoofed, why, err)
}

// proven lets a peer through that has proved anything.
func (t *Trunk) proven(peer federation.Peer, domain string) (federation.Peer, error) {
	switch {
	case peer.Proof != federation.Claimed:
		return peer, nil
	case domain == "":
		return peer, t.forbid(Unproved, "The domain of From is none", nil)
	}
	return peer, t.forbid(Unproved, "Setting \"security\" of this domain asks for TLS with a certificate of it, or must be plain-ok", nil)
}

func (t *Trunk) forbid(event, why string, err error) error {
	return &unproved{event, &sipx.Refusal{
		Status: sip.StatusForbidden,
		Fields: []sip.Header{sipx.Warning(399, t.cfg.Name, why)},
		Err:    fault.Wrap(fault.Forbidden, err, "Not authorised for this domain"),
	}}
}

// unproved is a refusal with the event that it counts as.
type unproved struct {
	event string
	error
}

// Unwrap returns the refusal.
func (u *unproved) Unwrap() error { return u.error }

// livesAt reports whether a domain's SIP targets include the address, from
// which the connection comes if there is one. That holds for a second, which
// the locator remembers anything at the least.
func (t *Trunk) livesAt(domain string, ip netip.Addr, s *stream) (bool, error) {
	now := time.Now()
	if s != nil && s.lives == domain && now.Before(s.livesUntil) {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(t.ctx, 5*time.Second)
	defer cancel()
	targets, err := t.cfg.Locate.SIP(ctx, locate.SIPQuery{Host: domain})
	ok := slices.ContainsFunc(targets, func(to federation.Target) bool { return to.Addr.Addr().Unmap() == ip })
	if ok && s != nil {
		s.lives, s.livesUntil = domain, now.Add(time.Second)
	}
	return ok, err
}

// trusted reports whether a peer belongs to the trust domain: it is the server
// of a home whose users use SIP (RFC 3325, section 3).
func (t *Trunk) trusted(peer federation.Peer) bool {
	return slices.ContainsFunc(peer.Domains, func(domain string) bool {
		home, ok := t.cfg.Book.Home(domain)
		return ok && home.Users == federation.SIP
	}) && peer.Proof != federation.Claimed
}

// distrust takes out of a request the identities that its sender may not assert
// (RFC 3325, sections 5 and 8), and those of which nobody can say which one
// counts: there is one sip or sips URI, and one tel URI, at most (section 9.1).
// What is left has a field each.
func (t *Trunk) distrust(req *sip.Request, peer federation.Peer) {
	const name = "P-Asserted-Identity"
	var list []string
	count := make(map[string]int)
	for _, value := range sipx.Values(req, name) {
		for _, item := range sipx.Items(value) {
			var u sip.Uri
			if _, err := sip.ParseAddressValue(item, &u, nil); err != nil {
				u.Scheme = ""
			}
			count[strings.TrimSuffix(u.Scheme, "s")]++
			list = append(list, item)
		}
	}
	remove(req, name)
	if len(list) != count["sip"]+count["tel"] || count["sip"] > 1 || count["tel"] > 1 || !t.trusted(peer) {
		return
	}
	for _, item := range list {
		req.AppendHeader(sip.NewHeader(name, item))
	}
}

// guard keeps asserted identities from a peer outside of the trust domain if
// the user asks for that, and takes out what is meant for the first proxy only
// (RFC 3325, sections 7 and 9.2).
func (t *Trunk) guard(req *sip.Request, domain string) {
	remove(req, "P-Preferred-Identity")
	if home, ok := t.cfg.Book.Home(domain); ok && home.Users == federation.SIP {
		return
	}
	if sipx.Private(req) {
		remove(req, "P-Asserted-Identity")
	}
}

// remove takes all header fields of a name out, however it is spelled.
func remove(req *sip.Request, name string) {
	for {
		i := slices.IndexFunc(req.Headers(), func(h sip.Header) bool { return strings.EqualFold(h.Name(), name) })
		if i < 0 {
			return
		}
		req.RemoveHeader(req.Headers()[i].Name())
	}
}
