package imdn

import (
	"errors"
	"strings"
	"time"
	"unicode"

	"cpimgate/cpim"
	"cpimgate/cpim/fault"
	"cpimgate/cpim/xmltree"
)

// The headers of the namespace urn:ietf:params:imdn (RFC 5438, section 10).
const (
	dispositionNotification = "Disposition-Notification"
	messageID               = "Message-ID"
	originalTo              = "Original-To"
	recordRoute             = "IMDN-Record-Route"
	route                   = "IMDN-Route"
)

// maxRoute bounds the way back; a message with a longer one is not answered.
const maxRoute = 8

// A Request is what a message asks to be told, with all that it takes to answer
// when the message itself is gone.
type Request struct {
	MessageID  string
	DateTime   time.Time
	From, To   cpim.Address // of the message
	OriginalTo string       // URI, if the address of the recipient was changed on the way
	Route      []string     // URIs; the notification goes to the first, or to From
	Subject    cpim.Text

	Positive, Negative, Processing, Display bool

	Ignored []string // values that RFC 5438 does not know
}

// maxID bounds a Message-ID that we remember.
const maxID = 255

// isID reports whether a Message-ID can be remembered and named again. RFC 5438,
// section 10, wants a Token; "@" and the like are common and do no harm.
func isID(s string) bool {
	return s != "" && len(s) <= maxID && s == xmltree.Clean(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
}

// MessageID returns the Message-ID of a message, or "".
func MessageID(m *cpim.Message) string {
	if h := m.Get(cpim.IMDN, messageID); h != nil {
		return strings.Trim(h.Text(), " ")
	}
	return ""
}

// RequestOf returns what m asks to be told, or nil. A message that has no
// usable Message-ID or no DateTime cannot be answered (RFC 5438, section 7.1.1), a
// notification is never answered (section 7.2.1), and a way back that is broken
// or suspiciously long is not gone.
func RequestOf(m *cpim.Message) *Request {
	id := MessageID(m)
	if !isID(id) || m.DateTime.IsZero() || len(m.To) == 0 || Is(m) {
		return nil
	}
	r := &Request{MessageID: id, DateTime: m.DateTime, From: m.From, To: m.To[0]}
	if len(m.Subjects) > 0 {
		r.Subject = m.Subjects[0]
	}
	for _, h := range m.Headers {
		if h.Space != cpim.IMDN {
			continue
		}
		switch h.Local {
		case dispositionNotification:
			r.take(h.Value)
		case recordRoute, originalTo:
			a, _, err := cpim.ParseAddress(h.Value)
			switch {
			case err != nil || h.Local == originalTo && r.OriginalTo != "":
				return nil
			case h.Local == originalTo:
				r.OriginalTo = a.URI
			default:
				r.Route = append(r.Route, a.URI)
			}
		}
	}
	asked := r.Positive || r.Negative || r.Processing || r.Display
	if !asked || len(r.Route) > maxRoute {
		return nil
	}
	return r
}

// wants pairs each wish with its name on the wire.
func (r *Request) wants() [4]want {
	return [...]want{
		{"positive-delivery", &r.Positive},
		{"negative-delivery", &r.Negative},
		{"processing", &r.Processing},
		{"display", &r.Display},
	}
}

type want struct {
	name string
	is   *bool
}

// take takes the values of a Disposition-Notification header; their parameters
// have no meaning yet (RFC 5438, section 10).
func (r *Request) take(value string) {
next:
	for item := range strings.SplitSeq(value, ",") {
		item, _, _ = strings.Cut(item, ";")
		if item = strings.Trim(item, " "); item == "" {
			continue
		}
		for _, w := range r.wants() {
			if w.name == item {
				*w.is = true
				continue next
			}
		}
		r.Ignored = append(r.Ignored, item)
	}
}

// Ask adds to m the headers that ask for notifications about it. The id is the
// caller's, of 64 random bits or more (RFC 5438, section 6.3); m must have a
// DateTime. Only what r wants is read from it.
func (r *Request) Ask(m *cpim.Message, id string) {
	m.Add(cpim.IMDN, messageID, id)
	var names []string
	for _, w := range r.wants() {
		if *w.is {
			names = append(names, w.name)
		}
	}
	if len(names) > 0 {
		m.Add(cpim.IMDN, dispositionNotification, strings.Join(names, ", "))
	}
}

// Target returns the URI that the answer goes to: the top of the way back, or
// who sent the message (RFC 5438, section 7.2.1).
func (r *Request) Target() string {
	if len(r.Route) > 0 {
		return r.Route[0]
	}
	return r.From.URI
}

// Answer returns the notification that answers r, under an id of its own: from
// the recipient of the message to its sender, on the way that was recorded (RFC
// 5438, section 7.2.1).
func (r *Request) Answer(kind Kind, status Status, id string) (*cpim.Message, error) {
	n := &Notification{
		MessageID: r.MessageID, DateTime: r.DateTime, Subject: r.Subject,
		Recipient: r.To.URI, OriginalRecipient: or(r.OriginalTo, r.To.URI),
		Kind: kind, Status: status,
	}
	return Wrap(n, r.To, r.From, r.Route, id)
}

// Wrap puts a notification into its envelope.
func Wrap(n *Notification, from, to cpim.Address, way []string, id string) (*cpim.Message, error) {
	if id == "" {
		return nil, fault.E(fault.Internal, "notification without a Message-ID of its own")
	}
	body, err := n.Bytes()
	if err != nil {
		return nil, err
	}
	m := &cpim.Message{From: from, To: []cpim.Address{to}}
	m.Add(cpim.IMDN, messageID, id)
	for _, uri := range way {
		m.Add(cpim.IMDN, route, cpim.Address{URI: uri}.String())
	}
	m.Content = cpim.Part{
		Header: cpim.Fields{{Name: "Content-Type", Value: MediaType}, {Name: "Content-Disposition", Value: Disposition}},
		Body:   body,
	}
	return m, nil
}

// RouteOf returns the way that a notification still has to go, the next hop
// first (RFC 5438, section 8).
func RouteOf(m *cpim.Message) ([]string, error) {
	var uris []string
	for _, h := range m.Headers {
		if h.Space != cpim.IMDN || h.Local != route {
			continue
		}
		a, _, err := cpim.ParseAddress(h.Value)
		if err != nil {
			return nil, err
		}
		if uris = append(uris, a.URI); len(uris) > maxRoute {
			return nil, fault.E(fault.Malformed, "IMDN-Route of more than %d hops", maxRoute)
		}
	}
	return uris, nil
}

// Is reports whether a message is a notification, or several in one (RFC 5438,
// sections 8.3 and 9). The type decides: Content-Disposition is not always
// there. A multipart that holds anything else is a message.
func Is(m *cpim.Message) bool {
	return len(bodies(m)) > 0
}

// Of returns the notifications that a message carries, none if it is no
// notification. Each is read on its own: those that cannot be read are in err.
func Of(m *cpim.Message) (all []*Notification, err error) {
	for _, p := range bodies(m) {
		b, bad := p.Decode()
		if bad == nil {
			var n *Notification
			if n, bad = Parse(b); bad == nil {
				all = append(all, n)
			}
		}
		err = errors.Join(err, bad)
	}
	return all, err
}

// bodies returns the parts that hold a notification each, or none.
func bodies(m *cpim.Message) []cpim.Part {
	switch m.Content.Media().Type {
	case MediaType:
		return []cpim.Part{m.Content}
	case "multipart/mixed":
		parts, err := m.Content.Split()
		if err != nil {
			return nil
		}
		for _, p := range parts {
			if p.Media().Type != MediaType {
				return nil
			}
		}
		return parts
	}
	return nil
}
