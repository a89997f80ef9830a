package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/federation/locate"
	"cpimgate/gateway/policy"
	"cpimgate/gateway/step"
	"cpimgate/gateway/talk"
	"cpimgate/mapping"
)

// nsMUC is the namespace of a presence that enters a room (XEP-0045, section
// 7.2).
const nsMUC = "http://jabber.org/protocol/muc"

// xmppDoor is the entrance for XMPP: it implements [s2s.Handler].
type xmppDoor struct {
	*Gateway
	component *attached // that stanzas come by; nil: streams between servers
}

// ServeStanza takes one message or presence stanza that the stream has checked.
func (g xmppDoor) ServeStanza(ctx context.Context, e *xmltree.Element, peer federation.Peer) {
	a := &arrival{e: e, peer: peer}
	var err error
	if a.h, err = xep.HeaderOf(e); err == nil {
		err = g.stanza(ctx, a)
	}
	if err != nil {
		g.refuseStanza(ctx, a, err)
	}
}

// An arrival is a stanza on its way to its conversation.
type arrival struct {
	e        *xmltree.Element
	h        xep.Header
	peer     federation.Peer
	from, to step.Party
	alias    bool // it was sent to a gateway name
}

// refuseStanza tells the sender of a stanza why it was not taken, unless
// another has written it in his name.
func (g xmppDoor) refuseStanza(ctx context.Context, a *arrival, err error) {
	g.refused(ctx, federation.XMPP, a.peer.String(), a.e.Get("from"), a.e.Get("to"), err)
	if r, ok := errors.AsType[*policy.Refused](err); ok && r.Rule == policy.Spoofed {
		return
	}
	answer := g.stanzaRefusal(a.h, err)
	if g.component != nil {
		g.sendBy(g.component, answer)
		return
	}
	g.send(answer)
}

// stanza hands a message to the conversation of its two parties. What is not
// carried yet is answered as decision D-85 says: rooms are not there, presence
// is left without an answer (never "unsubscribed"). Whoever is answered is
// counted first.
func (g xmppDoor) stanza(ctx context.Context, a *arrival) error {
	room := a.h.Type == "groupchat" || a.h.Name == "presence" && a.h.Type == "" && a.e.Child(nsMUC, "x") != nil
	if a.h.Name == "presence" && !room {
		g.admin.Ignored("presence is not carried yet")
		return nil
	}
	if err := g.vouched(a); err != nil {
		return err
	}
	err := g.xmppParties(a)
	switch {
	case a.h.Type == "error" && err == nil:
		g.shards.Report(talk.Key(a.to.JID, a.from.JID), step.Reply{Of: step.Ref(a.h.ID), From: a.h.From, Error: xep.ErrorOf(a.e)})
		return nil
	case a.h.Type == "error": // nobody is answered
		return err
	case err != nil:
		if over := g.policy.Rate(time.Now(), a.h.From.Domainpart(), a.h.From.Bare().String()); over != nil {
			return over
		}
		return err
	}
	if err := g.admit(federation.XMPP, a.from.URI.Host, a.from.URI, a.to.URI); err != nil {
		return err
	}
	if room {
		return ErrNoRooms
	}
	if err := g.nativeNow(federation.XMPP, a.from.URI.Host); err != nil {
		return err
	}
	g.came(federation.XMPP, a.h.ID, a.peer)
	return g.converse(ctx, a)
}

// converse gives a message to its conversation, once it is known that it is for
// us to convert.
func (g xmppDoor) converse(ctx context.Context, a *arrival) error {
	if a.h.Name != "message" {
		return fault.E(fault.Malformed, "not a message")
	}
	key := talk.Key(a.to.JID, a.from.JID)
	got := step.Got{Peer: a.from.URI.Host, From: a.from, To: a.to, Message: xep.MessageOf(a.e, a.h)}
	if !a.alias {
		return g.shards.Post(key, got)
	}
	return g.choose(a, func(err error) {
		if err == nil {
			err = g.shards.Post(key, got)
		}
		if err != nil {
			g.refuseStanza(ctx, a, err)
		}
	})
}

// vouched checks that a stanza may come from where it came. Between servers the
// stream has seen to that. The server of a component speaks for its own users
// (D-72). Whom else it relays it has verified (XF-72), but he is not among those
// whom we serve, and hears it (RES-23). What has its sender in a domain that
// reaches XMPP through nobody but us is forged.
func (g xmppDoor) vouched(a *arrival) error {
	if g.component == nil {
		return nil
	}
	from := a.h.From.Domainpart()
	if a.peer.SpeaksFor(from) {
		return nil
	}
	domain, err := federation.Domain(from)
	if err != nil || g.book.Stands(federation.XMPP, domain) || g.attached(domain) {
		return policy.Refuse(policy.Spoofed, fault.E(fault.Forbidden, "not authorised for this sender"))
	}
	return errNotServed
}

// ErrNoRooms is what a user of a domain without rooms answers (RFC 6121,
// section 8.5.2.1.1).
var ErrNoRooms = &mapping.StanzaRefusal{
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
// 7247, section 6).
func (g xmppDoor) xmppParties(a *arrival) error {
	sender, err := federation.Domain(a.h.From.Domainpart())
	if err != nil {
		return err
	}
	domain, err := federation.Domain(a.h.To.Domainpart())
	if err != nil {
		return err
	}
	home, _ := g.book.Home(sender)
	gateway := ""
	if a.alias = domain == home.Gateway; a.alias {
		gateway = domain
	}
	a.from, a.to, err = OnSIP(a.h.From, a.h.To, gateway)
	switch {
	case !g.serves(home, domain):
		return errNotServed
	case err != nil:
		return err
	}
	return g.allowed(a.from.URI.Host, a.to.URI.Host)
}

// serves reports whether we still take what users of a home, or of none, send to
// a domain. Only a home may use its gateway name and its components (RES-23).
func (g xmppDoor) serves(home federation.Home, domain string) bool {
	if g.component != nil {
		return g.settings.Attached(home.Domain, domain)
	}
	_, ours := g.book.Home(domain)
	return g.book.Stands(federation.XMPP, domain) && (ours || home.Gateway == domain)
}

// choose finds out whether what was sent to a gateway name is for us to convert,
// and says so to then. A domain that says that it speaks XMPP is reached by it:
// the sender is told where (RFC 7247, section 5; RES-01, RES-03). But one who has
// written to us by SIP is answered by SIP. A component is the operator's word
// that a domain speaks SIP, and nobody is asked.
func (g xmppDoor) choose(a *arrival, then func(error)) error {
	if home, ours := g.book.Home(a.to.URI.Host); ours {
		if home.Users == federation.XMPP {
			return elsewhere(a.to.URI)
		}
		then(nil)
		return nil
	}
	return g.routes.ask(a.to.URI.Host, func(s locate.Speech, err error) {
		wire := federation.XMPP
		if err == nil {
			wire, _, err = s.Choose(federation.XMPP)
		}
		switch {
		case wire == federation.SIP || g.policy.Met(a.from.URI, a.to.URI):
			err = nil
		case err == nil && s.Bare:
			err = fault.Wrap(fault.NoRoute, errBare, "this domain does not say that it speaks SIP")
		case err == nil:
			err = elsewhere(a.to.URI)
		}
		then(err)
	})
}

var errBare = errors.New("it has no service records; if it does speak SIP, say where with the setting sip of that peer")

// elsewhere refuses a message to a user who is reached without us.
func elsewhere(to sip.Uri) error {
	r := &mapping.StanzaRefusal{
		Type: "modify", Condition: "redirect",
		Err: fault.E(fault.Unsupported, "this user is reached by XMPP, without a gateway"),
	}
	if j, err := mapping.ToJID(to); err == nil {
		r.Address = mapping.FormatXMPP(j)
	}
	return r
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
	if e != nil {
		g.sendBy(g.carrier(e), e)
	}
}

func (g *Gateway) sendBy(by carrier, e *xmltree.Element) {
	if e == nil {
		return
	}
	by.Send(e, time.Time{}, func(how federation.How, err error) {
		if how == federation.GivenUp {
			g.admin.Ignored("a stanza that nobody waits for was not sent")
			g.log.Info("not sent", "wire", federation.XMPP, "to", e.Get("to"), "err", err)
		}
	})
}
