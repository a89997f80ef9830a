package xep

import (
	"time"

	"mellium.im/xmpp/jid"

	"cpimgate/cpim/xmltree"
)

// Message is a message stanza with the payloads that have a meaning on the
// other side of the gateway; all others are dropped when it is read (RFC 3922,
// section 4.1.8).
type Message struct {
	From, To jid.JID
	ID       string
	Type     string // as on the wire: "", "normal", "chat", "headline", "groupchat", "error", or unknown
	Lang     string // xml:lang of the stanza

	Subjects []Text // in order; a Lang of "" means none of its own (the stanza's holds)
	Bodies   []Text
	Thread   string

	HTML       *xmltree.Element // the body element of XHTML-IM (XEP-0071)
	State      State            // XEP-0085
	Nick       string           // XEP-0172
	Delay      *Delay           // XEP-0203
	E2E        string           // the S/MIME object of RFC 3923, as the CDATA text; "" is none
	Request    bool             // asks for a receipt (XEP-0184)
	Received   string           // id of the message that was received (XEP-0184)
	Markable   bool             // XEP-0333
	Displayed  string           // id of the message that was displayed (XEP-0333)
	OOB        []string         // URLs (XEP-0066)
	Files      []File           // XEP-0385, XEP-0447
	Encryption string           // name of the end-to-end encryption used (XEP-0380 and its older forms), "" for none
	Replaces   string           // id of the message that this one corrects (XEP-0308)
	ReplyTo    string           // id of the message that this one answers (XEP-0461)
	Quoted     bool             // the body starts with a quotation of it (XEP-0428 fallback for XEP-0461)
	Reactions  *Reactions       // XEP-0444
	Retracts   string           // id of the message that was retracted (XEP-0424, version 0 or 1)
	Attention  bool             // XEP-0224
	Multicast  bool             // names further recipients (XEP-0033)
	OriginID   string           // XEP-0359
	Event      bool             // a pubsub event (XEP-0060, section 7.1.2.1)
	Error      *Error           // of a message of type error
}

// A Text is a subject or a body in one language.
type Text struct {
	Lang  string
	Value string
}

// A State is a chat state (XEP-0085, section 2); "" is none.
type State string

const (
	Active    State = "active"
	Inactive  State = "inactive"
	Composing State = "composing"
	Paused    State = "paused"
	Gone      State = "gone"
)

// A Delay says when a stanza was first sent, and who says so (XEP-0203).
type Delay struct {
	Stamp time.Time
	From  jid.JID
}

// A File is a file shared by reference: its name, its size in bytes or -1, and
// the first HTTP source.
type File struct {
	Name string
	Size int64
	URL  string
}

// Reactions are all reactions of a sender to one message; none means that
// former ones are taken back (XEP-0444, section 4.1).
type Reactions struct {
	ID    string
	Emoji []string
}

// An Error is the error of a stanza of type error (RFC 6120, section 8.3).
type Error struct {
	Type      string // auth, cancel, continue, modify, wait
	Condition string // RFC 6120, section 8.3.3; "" for none, or one that we do not know
	Address   string // content of gone or redirect: an IRI
	By        string
	Text      string
	Lang      string // of Text
	Secure    string // the further condition of RFC 3923, section 7, or ""
}

// LangOf returns the language in force for a subject or body of m: its own, or
// the stanza's (RFC 6120, section 8.1.5).
func (m *Message) LangOf(t Text) string {
	if t.Lang != "" {
		return t.Lang
	}
	return m.Lang
}

// Header returns what m has in common with other stanzas.
func (m *Message) Header() Header {
	return Header{Name: "message", From: m.From, To: m.To, ID: m.ID, Type: m.Type, Lang: m.Lang}
}
