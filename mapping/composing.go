package mapping

import (
	"time"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim/composing"
	"cpimgate/cpim/xep"
)

// StateToSIP maps a chat state to the MESSAGE that tells it, nil where there is
// nothing to tell (RFC 3994, sections 3.2 and 4; RFC 7573, section 6):
//
//	composing                  active, with refresh
//	paused, active, inactive   idle, if what was told last is active
//	gone                       none
//
// told says that active was told last and still holds: it is not told again
// before its refresh is due. refresh is at least composing.MinRefresh.
func StateToSIP(s xep.State, told bool, refresh time.Duration, from, to sip.Uri, callID string) (*sip.Request, error) {
	doc := composing.Status{State: composing.Idle, ContentType: "text"}
	switch {
	case s == xep.Composing && !told:
		doc.State, doc.Refresh = composing.Active, max(refresh, composing.MinRefresh)
	case told && (s == xep.Paused || s == xep.Active || s == xep.Inactive):
	default:
		return nil, nil
	}
	return newBuilder(from, to, callID).body(composing.MediaType, doc.Bytes())
}

// ComposingToXMPP maps a composing status to a chat state (RFC 3994, section
// 3.5; RFC 7573, section 6):
//
//	active             composing
//	idle, any other    active
//
// The stanza has the state and the thread and nothing else, and is of type chat
// (XEP-0085, section 5.6).
func ComposingToXMPP(s *composing.Status, thread string, from, to jid.JID) *xep.Message {
	m := &xep.Message{From: from, To: to, Type: "chat", Thread: thread, State: xep.Active}
	if s.State == composing.Active {
		m.State = xep.Composing
	}
	return m
}
