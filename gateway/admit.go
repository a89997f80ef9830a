package gateway

import (
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/federation"
	"cpimgate/gateway/policy"
	"cpimgate/mapping"
)

// errNotServed is for who is neither served nor writes to one who is (RES-23).
var errNotServed = policy.Refuse(policy.NotServed, &mapping.StanzaRefusal{
	Type: "cancel", Condition: "not-allowed",
	Err: fault.E(fault.Forbidden, "this gateway serves neither of these domains"),
})

// allowed refuses a message where the operator allows one of the domains
// nothing: allow: false holds for what comes from a peer and for what would go
// to it (decision D-73).
func (g *Gateway) allowed(domains ...string) error {
	for _, d := range domains {
		if folded, err := federation.Domain(d); err == nil {
			d = folded
		}
		if g.book.Rules(d).Allow {
			continue
		}
		err := fault.E(fault.Forbidden, "messages between these domains are not allowed here")
		return policy.Refuse(policy.Allow, &sipx.Refusal{
			Status: sip.StatusForbidden,
			Fields: []sip.Header{sipx.Warning(399, g.name, "The setting allow of a domain is false")},
			Err:    &mapping.StanzaRefusal{Type: "cancel", Condition: "not-allowed", Err: err},
		})
	}
	return nil
}

// admit counts one message of a user, who may have more identities besides, to
// another and refuses what is over a rate. One who is blocked is answered as if the other did not exist, in the
// words of his wire (XF-71, ERR-14).
func (g *Gateway) admit(w federation.Wire, peer string, from, to sip.Uri, besides ...sip.Uri) error {
	err := g.policy.Admit(time.Now(), peer, from, to, besides...)
	if r, ok := errors.AsType[*policy.Refused](err); ok && r.Rule == policy.Blocked {
		r.Err = errNobody
		if w == federation.SIP {
			r.Err = nobodyOnSIP(to)
		}
	}
	return err
}

// nobodyOnSIP returns what a SIP user hears when an XMPP server does not know
// whom he writes to: the image of errNobody (RFC 7247, table 2, note 5).
func nobodyOnSIP(to sip.Uri) error {
	_, device := to.UriParams.Get("gr")
	status, reason, fields := mapping.ErrorToSIP(
		&xep.Error{Type: errNobody.Type, Condition: errNobody.Condition},
		mapping.Circumstances{Full: device, Allow: "MESSAGE, OPTIONS"})
	return &sipx.Refusal{Status: status, Fields: fields, Err: fault.E(fault.NotFound, "%s", reason)}
}
