package gateway

import (
	"strings"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
	"cpimgate/gateway/step"
	"cpimgate/mapping"
)

// A Reading is how an entrance reads the addresses of a SIP request.
type Reading struct {
	Name    string // our own: who writes to it writes to whom To names (ADDR-29)
	Numbers string // the domain whose people telephone numbers are, "" for nobody's (ADDR-25)
	SIPS    bool   // addresses of the scheme sips are agreed upon with the peer
}

// Addresses returns who writes to whom. The sender is the first identity that is
// asserted for him, unless he asks for privacy, else From (RFC 3325, sections 8
// and 9.3); nobody has proved From yet. One who hides cannot be answered and is
// refused (ADDR-31), and so is what asks for SIPS all the way, which no stanza can
// promise (RFC 7247, section 8; RFC 5630, section 5.1.2).
func (r Reading) Addresses(req *sip.Request, asserted []sip.Uri) (from, to sip.Uri, err error) {
	if !r.SIPS && (req.Recipient.Scheme == "sips" || req.To().Address.Scheme == "sips") {
		return from, to, sipx.Refuse(sip.StatusTemporarilyUnavailable, fault.Forbidden, "Temporarily Unavailable", sipx.Warning(380, r.Name, "SIPS Not Allowed"))
	}
	from = mapping.WithGRUU(req.From().Address, req.From().Params)
	if len(asserted) > 0 && !sipx.Private(req) {
		from = asserted[0]
	}
	if mapping.Anonymous(from) {
		return from, to, sipx.Refuse(433, fault.Forbidden, "Anonymity Disallowed")
	}
	if from, err = r.user(from); err != nil {
		return from, to, mapping.OfSender(err)
	}
	to = req.Recipient
	if r.own(to.Host) {
		to = req.To().Address
	}
	if to, err = r.user(to); err != nil {
		return from, to, err
	}
	if to.User == "" {
		return from, to, errNoUser // MSG-72
	}
	return from, to, nil
}

// errNoUser is for what is addressed to nobody.
var errNoUser = fault.E(fault.NotFound, "this address is no user's")

// own reports a host that is ourselves: our name, or a number.
func (r Reading) own(host string) bool {
	_, number := federation.Literal(host)
	return number || strings.EqualFold(host, r.Name)
}

// user returns the SIP URI of the user whom a URI of another scheme names.
func (r Reading) user(u sip.Uri) (sip.Uri, error) {
	if u.Scheme == "tel" {
		return mapping.TelToSIP(u, r.Numbers)
	}
	return sipx.Resolve(u), nil
}

// OnXMPP gives a SIP user, and whom he writes to, their names on XMPP (RFC 7247,
// section 6.4). The sender keeps his own, unless he is known there at the name
// of a gateway (decision D-74).
func OnXMPP(from, to sip.Uri, gateway string) (f, t step.Party, err error) {
	f.URI, t.URI = from, to
	if t.JID, err = mapping.ToJID(to); err != nil {
		return f, t, err
	}
	if gateway == "" {
		f.JID, err = mapping.ToJID(from)
	} else {
		f.JID, err = mapping.GatewayJID(from, gateway)
	}
	return f, t, mapping.OfSender(err)
}

// OnSIP gives an XMPP user, and whom he writes to, their names on SIP (RFC 7247,
// section 6.5). If gateway is not "", it is at its name that he knows the other.
func OnSIP(from, to jid.JID, gateway string) (f, t step.Party, err error) {
	f.JID, t.JID = from, to
	if f.URI, err = mapping.ToURI(from); err != nil {
		return f, t, &mapping.StanzaRefusal{Type: "modify", Condition: "jid-malformed", Err: err} // ADDR-27
	}
	switch {
	case to.Localpart() == "":
		err = errNobody // MSG-72
	case gateway == "":
		t.URI, err = mapping.ToURI(to)
	default:
		t.URI, err = mapping.GatewayURI(to)
	}
	return f, t, err
}
