package xep

import (
	"mellium.im/xmpp/jid"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xmltree"
)

// A Header is what all stanzas have in common (RFC 6120, section 8.1).
type Header struct {
	Name     string // message, presence, iq
	From, To jid.JID
	ID       string
	Type     string
	Lang     string
}

// HeaderOf reads the attributes of a stanza. An address that is not one is
// fault.Malformed.
func HeaderOf(e *xmltree.Element) (Header, error) {
	h := Header{Name: e.Name.Local, ID: e.Get("id"), Type: e.Get("type"), Lang: e.GetName(xmltree.Lang)}
	var err error
	if h.From, err = ParseJID(e.Get("from")); err != nil {
		return h, fault.Wrap(fault.Malformed, err, "from is not an address")
	}
	if h.To, err = ParseJID(e.Get("to")); err != nil {
		return h, fault.Wrap(fault.Malformed, err, "to is not an address")
	}
	return h, nil
}
