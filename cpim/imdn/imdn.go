// Package imdn reads and writes instant message disposition notifications: the
// document message/imdn+xml, and the headers of Message/CPIM by which they are
// asked for and find their way (RFC 5438).
//
// The reader takes the elements of a document in any order, skips those of other
// namespaces, and accepts one of the two recipient addresses without the other.
// A document without a notification, which the schema of section 11.1.9 would
// allow and section 11.1.6 forbids, is malformed.
package imdn

import (
	"strings"
	"time"

	"cpimgate/cpim"
	"cpimgate/cpim/fault"
	"cpimgate/cpim/xmltree"
)

// The media type of a notification, the namespace of its elements, and its
// Content-Disposition (RFC 5438, sections 11.1 and 15.4).
const (
	MediaType   = "message/imdn+xml"
	Space       = "urn:ietf:params:xml:ns:imdn"
	Disposition = "notification"
)

// A Kind is what a notification is about.
type Kind string

// The kinds of notification (RFC 5438, section 11.1.6).
const (
	Delivery   Kind = "delivery"
	Processing Kind = "processing"
	Display    Kind = "display"
)

// A Status is what has become of the message.
type Status string

// Each kind has its own good news (RFC 5438, section 11.1.7).
const (
	Delivered Status = "delivered" // Delivery
	Failed    Status = "failed"    // Delivery
	Processed Status = "processed" // Processing
	Stored    Status = "stored"    // Processing
	Displayed Status = "displayed" // Display
	Forbidden Status = "forbidden" // any: the recipient does not tell
	Error     Status = "error"     // any: it cannot be known
)

// statuses lists what each kind may say.
var statuses = []struct {
	kind Kind
	may  []Status
}{
	{Delivery, []Status{Delivered, Failed, Forbidden, Error}},
	{Processing, []Status{Processed, Stored, Forbidden, Error}},
	{Display, []Status{Displayed, Forbidden, Error}},
}

// A Notification tells the sender of a message what has become of it. All but
// Kind and Status is about that message, not about the notification.
type Notification struct {
	MessageID         string
	DateTime          time.Time // zero if it could not be read
	Recipient         string    // URI; empty if hidden
	OriginalRecipient string    // URI; empty if hidden
	Subject           cpim.Text
	Kind              Kind
	Status            Status
}

// Parse reads a document.
func Parse(b []byte) (*Notification, error) {
	e, err := xmltree.Parse(b, xmltree.Documents)
	if err != nil {
		return nil, fault.Wrap(fault.Malformed, err, "the notification is no XML that we read")
	}
	if !e.Is(Space, "imdn") {
		return nil, fault.E(fault.Malformed, "no disposition notification")
	}
	n := &Notification{}
	seen := make(map[string]bool)
	for c := range e.Elements() {
		if c.Name.Space != Space {
			continue
		}
		if seen[c.Name.Local] {
			return nil, fault.E(fault.Malformed, "element twice in a disposition notification")
		}
		seen[c.Name.Local] = true
		if err := n.take(c); err != nil {
			return nil, err
		}
	}
	if n.MessageID == "" || n.Kind == "" || !seen["datetime"] {
		return nil, fault.E(fault.Malformed, "incomplete disposition notification")
	}
	return n, nil
}

// take reads one child of the document.
func (n *Notification) take(c *xmltree.Element) error {
	text := strings.Trim(c.Text(), " \t\r\n")
	switch c.Name.Local {
	case "message-id":
		n.MessageID = text
	case "datetime":
		n.DateTime, _ = cpim.ParseDateTime(text)
	case "recipient-uri":
		n.Recipient = text
	case "original-recipient-uri":
		n.OriginalRecipient = text
	case "subject":
		n.Subject = cpim.Text{Lang: c.GetName(xmltree.Lang), Text: c.Text()}
	default:
		return n.takeStatus(c)
	}
	return nil
}

// takeStatus reads a notification element, which holds the status of its kind.
func (n *Notification) takeStatus(c *xmltree.Element) error {
	kind, ok := strings.CutSuffix(c.Name.Local, "-notification")
	status := c.Child(Space, "status")
	if !ok || status == nil || n.Kind != "" {
		return fault.E(fault.Malformed, "no status or too many in a disposition notification")
	}
	for s := range status.Elements() {
		if s.Name.Space != Space {
			continue
		}
		if n.Kind != "" || !may(Kind(kind), Status(s.Name.Local)) {
			return fault.E(fault.Malformed, "status that its disposition notification cannot have")
		}
		n.Kind, n.Status = Kind(kind), Status(s.Name.Local)
	}
	if n.Kind == "" {
		return fault.E(fault.Malformed, "disposition notification without a status")
	}
	return nil
}

// may reports whether a notification of this kind can have this status.
func may(k Kind, s Status) bool {
	for _, row := range statuses {
		for _, x := range row.may {
			if row.kind == k && x == s {
				return true
			}
		}
	}
	return false
}

// Bytes writes the document in the order of the schema (RFC 5438, section
// 11.1.9), which wants both addresses or none, and a subject only after them:
// where one address is missing the other stands for it.
func (n *Notification) Bytes() ([]byte, error) {
	if n.MessageID == "" || n.DateTime.IsZero() || !may(n.Kind, n.Status) {
		return nil, fault.E(fault.Internal, "notification without Message-ID, time or status")
	}
	e := xmltree.New(Space, "imdn")
	add := func(local, value string) *xmltree.Element {
		c := xmltree.New(Space, local, xmltree.Text(value))
		e.Add(c)
		return c
	}
	add("message-id", n.MessageID)
	add("datetime", n.DateTime.Format(time.RFC3339Nano))
	if to, original := or(n.Recipient, n.OriginalRecipient), or(n.OriginalRecipient, n.Recipient); to != "" {
		add("recipient-uri", to)
		add("original-recipient-uri", original)
		if n.Subject.Text != "" {
			add("subject", n.Subject.Text).WithLang(n.Subject.Lang)
		}
	}
	e.Add(xmltree.New(Space, string(n.Kind)+"-notification",
		xmltree.New(Space, "status", xmltree.New(Space, string(n.Status)))))
	return e.Append([]byte(xmltree.Declaration), ""), nil
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}
