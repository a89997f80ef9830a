package gateway

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
	"cpimgate/federation/locate"
	"cpimgate/federation/trunk"
	"cpimgate/gateway/policy"
	"cpimgate/gateway/step"
	"cpimgate/gateway/talk"
	"cpimgate/mapping"
)

// sipDoor is the entrance for SIP: it implements [trunk.Handler].
type sipDoor struct{ *Gateway }

// ServeSIP takes one request that the trunk has checked. An error is the
// answer; the one for which a machine is responsible comes later.
func (g sipDoor) ServeSIP(ctx context.Context, req *sip.Request, peer federation.Peer, tx trunk.Tx) error {
	c := &call{req: req, came: time.Now(), peer: peer, tx: tx}
	err := g.message(ctx, c) // the trunk lets no other method in
	if err == nil {
		return nil
	}
	return g.refuseCall(ctx, c, err)
}

// A call is a request on its way to its conversation.
type call struct {
	req            *sip.Request
	came           time.Time
	peer           federation.Peer
	tx             trunk.Tx
	from, to       sip.Uri
	asserted       []sip.Uri // who the sender is besides, as his home says
	sender, domain string    // the domains of from and to
}

// message hands a pager-mode MESSAGE to the conversation of its two parties.
// The answer is the conversation's to give: it knows when the far side has
// taken the words (RFC 7572, section 5).
func (g sipDoor) message(ctx context.Context, c *call) error {
	if err := g.parties(c); err != nil { // who writes to whom, and may this peer say so?
		return err
	}
	if err := g.admit(federation.SIP, c.sender, c.from, c.to, c.asserted...); err != nil {
		return err
	}
	g.came(federation.SIP, c.req.CallID().Value(), c.peer)
	pass := func(to federation.Wire, err error) {
		if err == nil {
			err = g.pass(c, to)
		}
		if err != nil {
			_ = g.refuseCall(ctx, c, err) // the sender has gone
		}
	}
	switch home, served := g.book.Home(c.domain); {
	case served && home.Users == federation.SIP:
		return g.pass(c, federation.SIP)
	case served:
		return g.native(federation.SIP, c.sender, func(err error) { pass(federation.XMPP, err) })
	}
	return g.routes.ask(c.domain, func(s locate.Speech, err error) {
		w := federation.SIP
		if err == nil {
			w, _, err = s.Choose(federation.SIP)
		}
		if sender, _ := g.book.Home(c.sender); err == nil && w == federation.XMPP && sender.Users != federation.SIP {
			err = g.errTranslated(federation.SIP)
		}
		pass(w, err)
	})
}

func (g sipDoor) refuseCall(ctx context.Context, c *call, err error) error {
	g.refused(ctx, federation.SIP, c.peer.String(), c.req.From().Address.Addr(), c.req.Recipient.Addr(), err)
	return c.tx.Answer(g.refusal(c.req, err))
}

// parties names the two users of a request, and checks that the peer may speak
// for the first and that one of them is ours (RES-20, RES-23).
func (g sipDoor) parties(c *call) (err error) {
	r := g.reading(c.peer)
	c.asserted = g.asserted(c.req, c.peer, r)
	if c.from, c.to, err = r.Addresses(c.req, c.asserted); err != nil {
		return err
	}
	if !c.peer.SpeaksFor(c.from.Host) {
		return policy.Refuse(policy.Spoofed, &sipx.Refusal{
			Status: sip.StatusForbidden,
			Fields: []sip.Header{sipx.Warning(399, g.name, "The connection does not prove the domain of From; see the setting security of that domain")},
			Err:    fault.E(fault.Forbidden, "Not authorised for this sender"),
		})
	}
	if uri, to := c.req.Recipient, c.req.To().Address; to.User != uri.User || !strings.EqualFold(to.Host, uri.Host) {
		g.log.Debug("the Request-URI is not To", "to", to.Addr(), "uri", uri.Addr(), "user", c.to.Addr()) // ADDR-29
	}
	if c.sender, err = federation.Domain(c.from.Host); err != nil {
		return err
	}
	if c.domain, err = federation.Domain(c.to.Host); err != nil {
		return fault.Wrap(fault.NotFound, err, "no domain can be proved to be this address")
	}
	_, ours := g.book.Home(c.sender)
	switch _, theirs := g.book.Home(c.domain); {
	case theirs:
	case c.domain == g.name: // SIP-04
		return errNoUser
	case !ours:
		return errNotServed
	}
	return g.allowed(c.sender, c.domain)
}

// reading returns how we read the addresses of a peer's requests.
func (g sipDoor) reading(peer federation.Peer) Reading {
	sips := func(domain string) bool { return *g.settings.Peer(domain).SIPS }
	return Reading{Name: g.name, Numbers: g.book.Settings().Numbers(), SIPS: slices.ContainsFunc(peer.Domains, sips)}
}

// asserted returns the identities that a request from inside the trust domain,
// which is a home and its own server, asserts for its sender (ADDR-36).
func (g sipDoor) asserted(req *sip.Request, peer federation.Peer, r Reading) []sip.Uri {
	var all []sip.Uri
	for _, value := range sipx.Values(req, "P-Asserted-Identity") {
		var u sip.Uri
		if _, err := sip.ParseAddressValue(value, &u, nil); err != nil {
			continue
		}
		u, err := r.user(u)
		if err != nil {
			continue // a number that is nobody's
		}
		if home, ok := g.book.Home(strings.ToLower(u.Host)); ok && home.Users == federation.SIP && peer.SpeaksFor(u.Host) {
			all = append(all, u)
		}
	}
	return all
}

// pass hands a request to the conversation of two SIP users, or of one on SIP
// and one on XMPP, whose names it then maps (RFC 7247, section 6).
func (g sipDoor) pass(c *call, to federation.Wire) error {
	ev := step.Request{Came: c.came, Peer: c.sender, From: step.Party{URI: c.from}, To: step.Party{URI: c.to}, SIP: c.req}
	if !strings.EqualFold(c.req.Recipient.Host, c.to.Host) { // it was a number, or our own address
		ev.SIP = c.req.Clone()
		ev.SIP.Recipient = c.to
	}
	var key step.Key
	if to == federation.SIP {
		key = talk.BorderKey(c.from, c.to)
	} else {
		alias, err := g.alias(c)
		if err != nil {
			return err
		}
		if ev.From, ev.To, err = OnXMPP(c.from, c.to, alias); err != nil {
			return err
		}
		key = talk.Key(ev.From.JID, ev.To.JID)
	}
	ev.Tx = g.pending.add(c.tx, c.req)
	err := g.shards.Post(key, ev)
	if err != nil {
		g.pending.take(ev.Tx)
	}
	return err
}

// alias returns the gateway name at which the sender is known to XMPP, that of
// the home that he writes to (D-74); "" where we are the XMPP server of his
// domain, or a component for it of that home.
func (g sipDoor) alias(c *call) (string, error) {
	home, _ := g.book.Home(c.domain) // one of the two is a home
	switch {
	case g.book.Stands(federation.XMPP, c.sender), g.settings.Attached(home.Domain, c.sender):
		return "", nil
	case home.Gateway == "":
		return "", policy.Refuse(policy.NotServed, &sipx.Refusal{
			Status: sip.StatusForbidden,
			Fields: []sip.Header{sipx.Warning(399, g.name, "No component is configured for the domain of From, and no gateway")},
			Err:    fault.E(fault.Forbidden, "this domain takes no messages from yours"),
		})
	}
	return home.Gateway, nil
}

// refusal is the one place where a failure of ours becomes a SIP response.
func (g *Gateway) refusal(req *sip.Request, err error) *sip.Response {
	status, reason, fields := mapping.FaultToSIP(err)
	return g.response(req, status, reason, fields)
}

// response makes a response fit for the wire: RFC 4320, section 4.2 forbids 408
// as the answer to anything but an INVITE.
func (g *Gateway) response(req *sip.Request, status int, reason string, fields []sip.Header) *sip.Response {
	if status == sip.StatusRequestTimeout && req.Method != sip.INVITE {
		status = sip.StatusGatewayTimeout
	}
	return trunk.Reply(req, status, reason, fields...)
}

// came says, to who searches for a message, that it was let in. Its end has a
// line of its own.
func (g *Gateway) came(w federation.Wire, id string, peer federation.Peer) {
	if g.log.Enabled(context.Background(), slog.LevelDebug) {
		g.log.Debug("message came", "wire", w, "id", id, "peer", peer)
	}
}

// refused counts and logs what an entrance has not let in, and by which rule of
// the operator.
func (g *Gateway) refused(ctx context.Context, w federation.Wire, peer, from, to string, err error) {
	g.admin.Refused(string(w), fault.KindOf(err).String())
	if r, ok := errors.AsType[*policy.Refused](err); ok {
		g.admin.Policy(string(w), string(r.Rule))
	}
	g.log.Log(ctx, slog.LevelInfo, "refused", "wire", w, "peer", peer, "from", from, "to", to, "err", err)
}
