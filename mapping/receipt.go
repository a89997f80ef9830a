package mapping

import (
	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim"
	"cpimgate/cpim/imdn"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
)

// asksNotice reports whether a stanza asks for something that the peer can
// answer. No receipt is ever made from a 200 (RFC 7572, section 4; RFC 5438,
// section 12.2).
func asksNotice(m *xep.Message, o SIPOptions) bool {
	return o.Accept.CPIM && o.MessageID != "" && (m.Request || m.Markable)
}

// askNotice writes the request of a stanza into its envelope (RFC 5438, section
// 7.1.1.3):
//
//	request (XEP-0184)     positive-delivery, negative-delivery
//	markable (XEP-0333)    display
func askNotice(c *cpim.Message, m *xep.Message, o SIPOptions) {
	if o.MessageID == "" || !m.Request && !m.Markable {
		return
	}
	r := &imdn.Request{Positive: m.Request, Negative: m.Request, Display: m.Markable}
	r.Ask(c, o.MessageID)
}

// NoticeOf returns what a receipt or marker tells about the message that it
// names: displayed implies received. ok is false for any other stanza.
func NoticeOf(m *xep.Message) (id string, kind imdn.Kind, status imdn.Status, ok bool) {
	switch {
	case m.Displayed != "":
		return m.Displayed, imdn.Display, imdn.Displayed, true
	case m.Received != "":
		return m.Received, imdn.Delivery, imdn.Delivered, true
	}
	return "", "", "", false
}

// NoticeToSIP returns the MESSAGE that answers asked with a disposition
// notification (RFC 5438, sections 7.2.1 and 12.1):
//
//	message that was named     message-id, datetime and recipients of the original
//	received                   delivery-notification, delivered
//	displayed                  display-notification, displayed
//	error                      delivery-notification, failed
//	way back                   IMDN-Route, as recorded
//
// It goes to to, the sender of the message, or to the first hop of the way back
// if there is one; whether that may be written to is the caller's to judge. id
// is its own Message-ID. Nothing is asked in it, so that it is never answered.
func NoticeToSIP(asked *imdn.Request, kind imdn.Kind, status imdn.Status, id string, from, to sip.Uri, callID string) (*sip.Request, error) {
	c, err := asked.Answer(kind, status, id)
	if err != nil {
		return nil, err
	}
	envelope, err := c.Bytes()
	if err != nil {
		return nil, err
	}
	if len(asked.Route) > 0 {
		if to, err = sipx.ParseURI(asked.Route[0]); err != nil {
			return nil, err
		}
	}
	return newBuilder(from, to, callID).body(cpim.MediaType, envelope)
}

// NoticeToXMPP maps a disposition notification to what the sender of the stanza
// id is told, nil for nothing (XEP-0184, section 7; XEP-0333, section 4.2):
//
//	delivery, delivered     received
//	delivery, failed        error recipient-unavailable
//	delivery, error         error undefined-condition
//	display, displayed      displayed
//	forbidden, processing   none
//
// It never asks for a receipt of its own. typ is the type of the message that
// it is about.
func NoticeToXMPP(n *imdn.Notification, id, typ string, from, to jid.JID) *xep.Message {
	m := &xep.Message{From: from, To: to, Type: typ}
	switch {
	case n.Kind == imdn.Delivery && n.Status == imdn.Delivered:
		m.Received = id
	case n.Kind == imdn.Display && n.Status == imdn.Displayed:
		m.Displayed = id
	case n.Kind == imdn.Delivery && n.Status == imdn.Failed:
		return failed(m, id, "wait", "recipient-unavailable", "the message was not delivered")
	case n.Kind == imdn.Delivery && n.Status == imdn.Error:
		return failed(m, id, "cancel", xep.UndefinedCondition, "it is not known whether the message was delivered")
	default:
		return nil
	}
	return m
}

func failed(m *xep.Message, id, typ, condition, text string) *xep.Message {
	m.ID, m.Type = id, "error"
	m.Error = &xep.Error{Type: typ, Condition: condition, Text: text, Lang: "en"}
	return m
}
