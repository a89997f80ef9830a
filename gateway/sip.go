package gateway

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
	"cpimgate/federation/trunk"
	"cpimgate/gateway/step"
	"cpimgate/gateway/talk"
	"cpimgate/mapping"
)

// sipDoor is the entrance for SIP: it implements [trunk.Handler].
type sipDoor struct{ *Gateway }

// ServeSIP takes one request that the trunk has checked. An error is the
// answer; the one for which the machine is responsible comes later.
func (g sipDoor) ServeSIP(ctx context.Context, req *sip.Request, peer federation.Peer, tx trunk.Tx) error {
	err := g.message(req, peer, tx) // the trunk lets no other method in
	if err == nil {
		return nil
	}
	g.refused(ctx, federation.SIP, peer.String(), req.From().Address.Addr(), req.Recipient.Addr(), err)
	return tx.Answer(g.refusal(req, err))
}

// message hands a pager-mode MESSAGE to the conversation of its two parties.
// The answer is the conversation's to give: it knows when the far side has
// taken the words (RFC 7572, section 5).
func (g sipDoor) message(req *sip.Request, peer federation.Peer, tx trunk.Tx) error {
	from, to, err := g.sipParties(req, peer) // who writes to whom, and may this peer say so?
	if err != nil {
		return err
	}
	if err := g.policy.Admit(time.Now(), from.URI.Host, from.JID.Bare().String()); err != nil {
		return err
	}
	name := g.pending.add(tx, req)
	err = g.shards.Post(talk.Key(from.JID, to.JID), step.Request{Tx: name, Peer: from.URI.Host, From: from, To: to, SIP: req})
	if err != nil {
		g.pending.take(name)
	}
	return err
}

// sipParties names the two users of a request as both worlds write them, and
// checks that the peer may speak for the first and the second may be written to
// (RFC 7247, section 6; RES-20, RES-23).
func (g sipDoor) sipParties(req *sip.Request, peer federation.Peer) (from, to step.Party, err error) {
	if err := g.noSIPS(req, peer); err != nil {
		return from, to, err
	}
	if from.URI, err = g.sender(req, peer); err != nil {
		return from, to, err
	}
	to.URI = g.recipient(req)
	if to.URI.User == "" {
		return from, to, fault.E(fault.NotFound, "this address is no user's") // MSG-72
	}
	if to.JID, err = mapping.ToJID(to.URI); err != nil {
		return from, to, err
	}
	sender, err := federation.Domain(from.URI.Host)
	if err != nil {
		return from, to, err
	}
	domain, err := federation.Domain(to.URI.Host)
	if err != nil {
		return from, to, fault.Wrap(fault.NotFound, err, "no domain can be proved to be this address")
	}
	home, served := g.book.Home(domain)
	switch {
	case served && home.Users == federation.SIP:
		return from, to, fault.E(fault.NotFound, "this domain does not use XMPP")
	case g.book.Stands(federation.XMPP, sender): // its people are known to XMPP by their own names
		from.JID, err = mapping.ToJID(from.URI)
	case served:
		from.JID, err = mapping.GatewayJID(from.URI, home.Gateway) // D-74
	default:
		return from, to, fault.E(fault.Forbidden, "this gateway serves neither of these domains")
	}
	return from, to, mapping.OfSender(err)
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
		return from, &sipx.Refusal{
			Status: sip.StatusForbidden,
			Fields: []sip.Header{sipx.Warning(399, g.name, "The connection does not prove the domain of From; see the setting security of that domain")},
			Err:    fault.E(fault.Forbidden, "Not authorised for this sender"),
		}
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

// refused counts and logs what an entrance has not let in.
func (g *Gateway) refused(ctx context.Context, w federation.Wire, peer, from, to string, err error) {
	g.admin.Refused(string(w), fault.KindOf(err).String())
	g.log.Log(ctx, slog.LevelInfo, "refused", "wire", w, "peer", peer, "from", from, "to", to, "err", err)
}
