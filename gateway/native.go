package gateway

import (
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
	"cpimgate/federation/locate"
	"cpimgate/gateway/config"
	"cpimgate/gateway/policy"
	"cpimgate/mapping"
)

// errTranslated is for what another gateway has translated before us: his domain
// reaches us without, and what is translated twice comes round in the end (RFC
// 7247, section 8; RES-27).
func (g *Gateway) errTranslated(on federation.Wire) error {
	setting := "sip"
	if on == federation.XMPP {
		setting = "xmpp"
	}
	return policy.Refuse(policy.Translated, &sipx.Refusal{
		Status: sip.StatusForbidden,
		Fields: []sip.Header{sipx.Warning(399, g.name, "The domain of the sender does not use "+string(on)+"; the setting "+setting+" of that peer says that it does")},
		Err: &mapping.StanzaRefusal{
			Type: "cancel", Condition: "not-allowed",
			Err: fault.E(fault.Forbidden, "messages of this domain are not taken on this protocol"),
		},
	})
}

// native finds out whether a domain is at home on the wire on which a sender of
// it has come, and tells then, with errTranslated if it is not: it says that it
// speaks the other protocol, and does not say that it speaks this one. The
// operator's word for one server of a domain is trust enough. One of whom
// nothing can be found out has proved himself, and is let in.
func (g *Gateway) native(on federation.Wire, domain string, then func(error)) error {
	if home, ours := g.book.Home(domain); ours {
		if home.Users != on {
			return g.errTranslated(on)
		}
		then(nil)
		return nil
	}
	if r := g.book.Rules(domain); r.SIP != "" || r.XMPP != "" || g.attached(domain) {
		then(nil)
		return nil
	}
	return g.routes.ask(domain, func(s locate.Speech, err error) {
		if err == nil {
			if w, _, err := s.Choose(on); err == nil && w != on {
				then(g.errTranslated(on))
				return
			}
		}
		then(nil)
	})
}

// attached reports that a component of ours stands for a domain: the operator's
// word that it speaks SIP.
func (g *Gateway) attached(domain string) bool {
	return slices.ContainsFunc(g.settings.Settings().Attachments(), func(a config.Attachment) bool { return a.Domain == domain })
}

// patience is how long a stream waits until it is known whether a sender is at
// home on it.
const patience = 5 * time.Second

// nativeNow is native for who can wait: while the DNS is slow about a domain, its
// own stream stands still, and nothing of it is kept here.
func (g *Gateway) nativeNow(on federation.Wire, domain string) error {
	found := make(chan error, 1)
	if err := g.native(on, domain, func(err error) { found <- err }); err != nil {
		return err
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case err := <-found:
		return err
	case <-late.C:
		return nil
	}
}
