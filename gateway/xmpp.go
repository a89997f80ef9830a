package gateway

import (
	"context"
	"time"

	"mellium.im/xmpp/jid"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/gateway/step"
	"cpimgate/gateway/talk"
	"cpimgate/mapping"
)

// nsMUC is the namespace of a presence that enters a room (XEP-0045, section
// 7.2).
const nsMUC = "http://jabber.org/protocol/muc"

// xmppDoor is the entrance for XMPP: it implements [s2s.Handler].
type xmppDoor struct{ *Gateway }

// ServeStanza takes one message or presence stanza that the stream has checked.
func (g xmppDoor) ServeStanza(ctx context.Context, e *xmltree.Element, peer federation.Peer) {
	h, err := xep.HeaderOf(e)
	if err == nil {
		err = g.stanza(e, h, peer)
	}
	if err == nil {
		return
	}
	g.refused(ctx, federation.XMPP, peer.String(), e.Get("from"), e.Get("to"), err)
	g.send(g.stanzaRefusal(h, err))
}

// stanza hands a message to the conversation of its two parties. What is not
// carried yet is answered as decision D-85 says: rooms are not there, presence
// is left without an answer (never "unsubscribed").
func (g xmppDoor) stanza(e *xmltree.Element, h xep.Header, peer federation.Peer) error {
	switch {
	case h.Name == "presence" && e.Child(nsMUC, "x") != nil && h.Type == "":
		return errNoRooms
	case h.Name == "presence":
		g.admin.Ignored("presence is not carried yet")
		return nil
	case h.Type == "groupchat":
		return errNoRooms
	}
	m, err := xep.ParseMessage(e)
	if err != nil {
		return err
	}
	from, to, err := g.xmppParties(m)
	if err != nil {
		return err
	}
	key := talk.Key(to.JID, from.JID)
	if m.Type == "error" {
		g.shards.Report(key, step.Reply{Of: step.Ref(m.ID), From: m.From, Error: m.Error})
		return nil
	}
	if err := g.admit(federation.XMPP, from.URI.Host, from.URI, to.URI); err != nil {
		return err
	}
	return g.shards.Post(key, step.Got{Peer: from.URI.Host, From: from, To: to, Message: m})
}

// errNoRooms is what a user of a domain without rooms answers (RFC 6121,
// section 8.5.2.1.1).
var errNoRooms = &mapping.StanzaRefusal{
	Type: "cancel", Condition: "service-unavailable",
	Err: fault.E(fault.Unsupported, "there are no rooms here"),
}

// errNobody is what we say for all whom we do not know or do not serve, so that
// nobody learns who exists (ERR-14).
var errNobody = &mapping.StanzaRefusal{
	Type: "cancel", Condition: "service-unavailable",
	Err: fault.E(fault.NotFound, "this address is no user's"),
}

// xmppParties names the two users of a stanza as both worlds write them (RFC
// 7247, section 6). The stream has proved the sender's domain.
func (g xmppDoor) xmppParties(m *xep.Message) (from, to step.Party, err error) {
	from.JID, to.JID = m.From, m.To
	if from.URI, err = mapping.ToURI(m.From); err != nil {
		return from, to, &mapping.StanzaRefusal{Type: "modify", Condition: "jid-malformed", Err: err} // ADDR-27
	}
	if m.To.Localpart() == "" {
		return from, to, errNobody // MSG-72
	}
	domain, err := federation.Domain(m.To.Domainpart())
	if err != nil {
		return from, to, err
	}
	home, behind := g.book.Behind(domain)
	switch {
	case !g.book.Stands(federation.XMPP, domain): // any more
		return from, to, errNotServed
	case !behind:
		to.URI, err = mapping.ToURI(m.To)
	case home.Domain == from.URI.Host:
		to.URI, err = mapping.GatewayURI(m.To)
	default: // only the home may use its gateway name (RES-23)
		return from, to, errNotServed
	}
	if err != nil {
		return from, to, err
	}
	return from, to, g.allowed(from.URI.Host, to.URI.Host)
}

// stanzaRefusal is the one place where a failure of ours becomes a stanza
// error; nil where none may be sent.
func (g *Gateway) stanzaRefusal(h xep.Header, err error) *xmltree.Element {
	if h.From.Equal(jid.JID{}) || h.To.Equal(jid.JID{}) {
		return nil
	}
	return xep.ErrorStanza(h, mapping.FaultToXMPP(err, h.To.Domainpart()))
}

// send sends a stanza of which nobody waits to hear.
func (g *Gateway) send(e *xmltree.Element) {
	if e == nil {
		return
	}
	g.s2s.Send(e, time.Time{}, func(how federation.How, err error) {
		if how == federation.GivenUp {
			g.admin.Ignored("a stanza that nobody waits for was not sent")
			g.log.Info("not sent", "wire", federation.XMPP, "to", e.Get("to"), "err", err)
		}
	})
}
