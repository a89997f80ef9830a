package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

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
	c := &call{req: req, peer: peer, tx: tx}
	err := g.message(ctx, c) // the trunk lets no other method in
	if err == nil {
		return nil
	}
	return g.refuseCall(ctx, c, err)
}

// A call is a request on its way to its conversation.
type call struct {
	req            *sip.Request
	peer           federation.Peer
	tx             trunk.Tx
	from, to       sip.Uri
	sender, domain string // the domains of both
}

// message hands a pager-mode MESSAGE to the conversation of its two parties.
// The answer is the conversation's to give: it knows when the far side has
// taken the words (RFC 7572, section 5).
func (g sipDoor) message(ctx context.Context, c *call) error {
	if err := g.parties(c); err != nil { // who writes to whom, and may this peer say so?
		return err
	}
	if err := g.admit(federation.SIP, c.sender, c.from, c.to); err != nil {
		return err
	}
	if home, served := g.book.Home(c.domain); served {
		return g.pass(c, home.Users)
	}
	return g.routes.ask(c.domain, func(s locate.Speech, err error) {
		w := federation.SIP
		if err == nil {
			w, _, err = s.Choose(federation.SIP)
		}
		if err == nil {
			err = g.pass(c, w)
		}
		if err != nil {
			_ = g.refuseCall(ctx, c, err) // the sender has gone
		}
	})
}

func (g sipDoor) refuseCall(ctx context.Context, c *call, err error) error {
	g.refused(ctx, federation.SIP, c.peer.String(), c.req.From().Address.Addr(), c.req.Recipient.Addr(), err)
	return c.tx.Answer(g.refusal(c.req, err))
}

// parties names the two users of a request, and checks that the peer may speak
// for the first and that one of them is ours (RES-20, RES-23).
func (g sipDoor) parties(c *call) (err error) {
	if err := g.noSIPS(c.req, c.peer); err != nil {
		return err
	}
	if c.from, err = g.sender(c.req, c.peer); err != nil {
		return err
	}
	c.to = g.recipient(c.req)
	if c.to.User == "" {
		return fault.E(fault.NotFound, "this address is no user's") // MSG-72
	}
	if c.sender, err = federation.Domain(c.from.Host); err != nil {
		return err
	}
	if c.domain, err = federation.Domain(c.to.Host); err != nil {
		return fault.Wrap(fault.NotFound, err, "no domain can be proved to be this address")
	}
	_, ours := g.book.Home(c.sender)
	if _, theirs := g.book.Home(c.domain); !ours && !theirs {
		return errNotServed
	}
	return g.allowed(c.sender, c.domain)
}

// pass hands a request to the conversation of two SIP users, or of one on SIP
// and one on XMPP, whose names it then maps (RFC 7247, section 6).
func (g sipDoor) pass(c *call, to federation.Wire) error {
	ev := step.Request{Peer: c.sender, From: step.Party{URI: c.from}, To: step.Party{URI: c.to}, SIP: c.req}
	key := talk.BorderKey(c.from, c.to)
	if to == federation.XMPP {
		var err error
		if ev.To.JID, err = mapping.ToJID(c.to); err != nil {
			return err
		}
		if ev.From.JID, err = g.known(c); err != nil {
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

// known returns the address under which the sender is known to XMPP: his own
// where we are the XMPP server of his domain, or a component for it of the home
// that he writes to; else one at the gateway name of that home (D-74).
func (g sipDoor) known(c *call) (from jid.JID, err error) {
	home, _ := g.book.Home(c.domain) // one of the two is a home
	switch {
	case g.book.Stands(federation.XMPP, c.sender), g.settings.Attached(home.Domain, c.sender):
		from, err = mapping.ToJID(c.from)
	case home.Gateway == "":
		return from, policy.Refuse(policy.NotServed, &sipx.Refusal{
			Status: sip.StatusForbidden,
			Fields: []sip.Header{sipx.Warning(399, g.name, "No component is configured for the domain of From, and no gateway")},
			Err:    fault.E(fault.Forbidden, "this domain takes no messages from yours"),
		})
	default:
		from, err = mapping.GatewayJID(c.from, home.Gateway)
	}
	return from, mapping.OfSender(err)
}

// sender returns who has sent a request (ADDR-30): P-Asserted-Identity from a
// home's own server, unless its user asks for privacy, else From (RFC 3325,
// sections 8 and 9.3).
func (g sipDoor) sender(req *sip.Request, peer federation.Peer) (sip.Uri, error) {
	from := mapping.WithGRUU(req.From().Address, req.From().Params)
	if asserted, ok := g.asserted(req, peer); ok {
		from = asserted
	}
	if mapping.Anonymous(from) {
		return from, sipx.Refuse(433, fault.Forbidden, "Anonymity Disallowed") // ADDR-31
	}
	if !peer.SpeaksFor(from.Host) {
		return from, policy.Refuse(policy.Spoofed, &sipx.Refusal{
			Status: sip.StatusForbidden,
			Fields: []sip.Header{sipx.Warning(399, g.name, "The connection does not prove the domain of From; see the setting security of that domain")},
			Err:    fault.E(fault.Forbidden, "Not authorised for this sender"),
		})
	}
	return from, nil
}

// asserted returns the P-Asserted-Identity of a request from inside the trust
// domain, which is a home and its own server (ADDR-36).
func (g sipDoor) asserted(req *sip.Request, peer federation.Peer) (sip.Uri, bool) {
	if strings.Contains(strings.ToLower(sipx.Value(req, "Privacy")), "id") {
		return sip.Uri{}, false
	}
	for _, value := range sipx.Values(req, "P-Asserted-Identity") {
		var u sip.Uri
		if _, err := sip.ParseAddressValue(value, &u, nil); err != nil || u.Scheme != "sip" {
			continue
		}
		if home, ok := g.book.Home(u.Host); ok && home.Users == federation.SIP && peer.SpeaksFor(u.Host) {
			return u, true
		}
	}
	return sip.Uri{}, false
}

// recipient returns whom a request is for: the Request-URI, or To where that is
// our own address (ADDR-29).
func (g sipDoor) recipient(req *sip.Request) sip.Uri {
	uri := req.Recipient
	if _, err := netip.ParseAddr(strings.Trim(uri.Host, "[]")); err == nil || uri.Host == g.name {
		uri = req.To().Address
	} else if to := req.To().Address; to.User != uri.User || !strings.EqualFold(to.Host, uri.Host) {
		g.log.Debug("the Request-URI is not To; it wins", "to", to.Addr(), "uri", uri.Addr())
	}
	return uri
}

// noSIPS refuses what asks for SIPS all the way, which no stanza can promise
// (RFC 7247, section 8; RFC 5630, section 5.1.2), unless the operator has agreed
// on it with the peer.
func (g sipDoor) noSIPS(req *sip.Request, peer federation.Peer) error {
	if req.Recipient.Scheme != "sips" && req.To().Address.Scheme != "sips" {
		return nil
	}
	for _, domain := range peer.Domains {
		if *g.settings.Peer(domain).SIPS {
			return nil
		}
	}
	return sipx.Refuse(sip.StatusTemporarilyUnavailable, fault.Forbidden, "Temporarily Unavailable", sipx.Warning(380, g.name, "SIPS Not Allowed"))
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

// refused counts and logs what an entrance has not let in, and by which rule of
// the operator.
func (g *Gateway) refused(ctx context.Context, w federation.Wire, peer, from, to string, err error) {
	g.admin.Refused(string(w), fault.KindOf(err).String())
	if r, ok := errors.AsType[*policy.Refused](err); ok {
		g.admin.Policy(string(w), string(r.Rule))
	}
	g.log.Log(ctx, slog.LevelInfo, "refused", "wire", w, "peer", peer, "from", from, "to", to, "err", err)
}
