package xep

import (
	"cmp"
	"encoding/xml"
	"strings"

	"cpimgate/cpim/xmltree"
)

// UndefinedCondition is what we write where a condition is missing or unknown.
const UndefinedCondition = "undefined-condition"

// conditions gives each condition the type that RFC 6120, section 8.3.3, names
// for it.
var conditions = map[string]string{
	"bad-request":             "modify",
	"conflict":                "cancel",
	"feature-not-implemented": "cancel",
	"forbidden":               "auth",
	"gone":                    "cancel",
	"internal-server-error":   "cancel",
	"item-not-found":          "cancel",
	"jid-malformed":           "modify",
	"not-acceptable":          "modify",
	"not-allowed":             "cancel",
	"not-authorized":          "auth",
	"policy-violation":        "modify",
	"recipient-unavailable":   "wait",
	"redirect":                "modify",
	"registration-required":   "auth",
	"remote-server-not-found": "cancel",
	"remote-server-timeout":   "wait",
	"resource-constraint":     "wait",
	"service-unavailable":     "cancel",
	"subscription-required":   "auth",
	UndefinedCondition:        "cancel",
	"unexpected-request":      "wait",
}

// The namespace of the conditions of RFC 3923, section 7, as printed there;
// the registered one is NSE2E.
const nsE2EPrinted = "urn:ietf:params:xml:xmpp-e2e"

// secured are the conditions of RFC 3923, section 7, and the one that its
// schema spells otherwise.
var secured = map[string]bool{
	"bad-timestamp":        true,
	"unverified-signature": true,
	"signature-unverified": true,
	"decryption-failed":    true,
}

// ErrorOf reads the error of a stanza of type error. It is never nil: an error
// that does not say what is wrong, or says it in a word that we do not know,
// has no condition, and its type is all there is to go by. A type that is none
// is the condition's own (RFC 6120, section 8.3).
func ErrorOf(stanza *xmltree.Element) *Error {
	x := &Error{}
	if e := stanza.Child(stanza.Name.Space, "error"); e != nil {
		x.Type, x.By = e.Get("type"), e.Get("by")
		for c := range e.Elements() {
			x.read(c)
		}
	}
	x.completeType()
	return x
}

func (x *Error) read(c *xmltree.Element) {
	switch c.Name.Space {
	case NSStanzas:
		_, known := conditions[c.Name.Local]
		switch {
		case c.Name.Local == "text":
			x.Text, x.Lang = c.Text(), c.GetName(xmltree.Lang)
		case known && x.Condition == "":
			x.Condition = c.Name.Local
			if x.addressed() {
				x.Address = strings.TrimSpace(c.Text())
			}
		}
	case NSE2E, nsE2EPrinted:
		if secured[c.Name.Local] {
			x.Secure = c.Name.Local
		}
	}
}

// addressed reports whether the condition may carry an address (RFC 6120,
// sections 8.3.3.5 and 8.3.3.14).
func (x *Error) addressed() bool { return x.Condition == "gone" || x.Condition == "redirect" }

// complete makes condition and type what RFC 6120 allows on the wire.
func (x *Error) complete() {
	if _, known := conditions[x.Condition]; !known {
		x.Condition = UndefinedCondition
	}
	x.completeType()
}

func (x *Error) completeType() {
	switch x.Type {
	case "auth", "cancel", "continue", "modify", "wait":
	default:
		x.Type = cmp.Or(conditions[x.Condition], conditions[UndefinedCondition])
	}
}

func (x *Error) element() *xmltree.Element {
	safe := *x
	safe.complete()
	cond := xmltree.New(NSStanzas, safe.Condition)
	if safe.addressed() && safe.Address != "" {
		cond.Add(xmltree.Text(safe.Address))
	}
	e := xmltree.New(NS, "error", cond).With("by", safe.By).With("type", safe.Type)
	if safe.Text != "" {
		e.Add(xmltree.New(NSStanzas, "text", xmltree.Text(safe.Text)).WithLang(safe.Lang))
	}
	if secured[safe.Secure] {
		e.Add(xmltree.New(NSE2E, safe.Secure))
	}
	return e
}

// ErrorStanza returns the error that answers the stanza h: addresses swapped,
// the same id (empty if there was none), nothing of the original's content
// (RFC 6120, section 8.3.1). It returns nil where no error may be sent: to an
// error, and to the result of an iq.
func ErrorStanza(h Header, x *Error) *xmltree.Element {
	if h.Type == "error" || h.Name == "iq" && h.Type == "result" {
		return nil
	}
	answer := Header{Name: h.Name, From: h.To, To: h.From, ID: h.ID, Type: "error"}
	e := answer.element()
	if h.ID == "" {
		e.Attr = append(e.Attr, xml.Attr{Name: xml.Name{Local: "id"}})
	}
	return e.Add(x.element())
}
