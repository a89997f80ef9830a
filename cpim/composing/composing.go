// Package composing reads and writes the status "is composing a message",
// application/im-iscomposing+xml (RFC 3994).
//
// The reader takes the elements in any order, skips those of other namespaces,
// and treats what it cannot use as absent, but for the state, which must be
// there. Nothing here keeps time: the timers belong to who sends and receives.
package composing

import (
	"strconv"
	"strings"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xmltree"
)

// The media type and the namespace of a status document.
const (
	MediaType = "application/im-iscomposing+xml"
	Space     = "urn:ietf:params:xml:ns:im-iscomposing"
)

// The two states that there are.
const (
	Active = "active"
	Idle   = "idle"
)

// Times of the sender and the receiver. MaxTimeout is ours: a lost "idle" must
// not leave somebody composing for ever.
const (
	MinRefresh     = 60 * time.Second  // RFC 3994, section 3.2
	DefaultTimeout = 120 * time.Second // RFC 3994, section 3.3
	MaxTimeout     = 600 * time.Second
)

// maxRefresh bounds the number that Refresh can hold.
const maxRefresh = 1<<31 - 1

// A Status says whether somebody is composing.
type Status struct {
	State       string        // Active or Idle
	Token       string        // the state as it was sent, where it is neither
	LastActive  time.Time     // zero if it does not say
	ContentType string        // a media type or its first half; a hint
	Refresh     time.Duration // whole seconds; zero if it does not say
}

// Parse reads a status document. A state that is neither active nor idle is
// idle (RFC 3994, section 3.5).
func Parse(b []byte) (*Status, error) {
	e, err := xmltree.Parse(b, xmltree.Documents)
	if err != nil {
		return nil, fault.Wrap(fault.Malformed, err, "the composing status is no XML that we read")
	}
	state := e.Child(Space, "state")
	if !e.Is(Space, "isComposing") || state == nil {
		return nil, fault.E(fault.Malformed, "no composing status")
	}
	s := &Status{State: Idle, Token: text(state)}
	if s.Token == Active || s.Token == Idle {
		s.State, s.Token = s.Token, ""
	}
	if c := e.Child(Space, "lastactive"); c != nil {
		s.LastActive = parseTime(text(c))
	}
	if c := e.Child(Space, "contenttype"); c != nil {
		s.ContentType = text(c)
	}
	if c := e.Child(Space, "refresh"); c != nil {
		s.Refresh = parseRefresh(text(c))
	}
	return s, nil
}

func text(e *xmltree.Element) string { return strings.TrimSpace(e.Text()) }

// parseTime reads an xs:dateTime that has a zone; without one it says nothing.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if y := t.UTC().Year(); err != nil || y < 0 || y > 9999 {
		return time.Time{}
	}
	return t
}

// parseRefresh reads an xs:positiveInteger, which has no upper bound, as a time.
func parseRefresh(s string) time.Duration {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "+"), 10, 64)
	if err != nil && !isRange(err) {
		return 0
	}
	return time.Duration(min(n, maxRefresh)) * time.Second
}

// isRange reports whether a number was only too large; ParseUint has then
// returned the largest.
func isRange(err error) bool {
	e, ok := err.(*strconv.NumError)
	return ok && e.Err == strconv.ErrRange
}

// Timeout returns how long an active status holds if nothing follows it (RFC
// 3994, section 3.3), at most [MaxTimeout].
func (s *Status) Timeout() time.Duration {
	if s.Refresh <= 0 {
		return DefaultTimeout
	}
	return min(s.Refresh, MaxTimeout)
}

// Bytes writes the document, its elements in the order of the schema (RFC 3994,
// section 6.1). Whatever is not active is idle.
func (s *Status) Bytes() []byte {
	state := Idle
	if s.State == Active {
		state = Active
	}
	e := xmltree.New(Space, "isComposing")
	add := func(local, value string) {
		e.Add(xmltree.New(Space, local, xmltree.Text(value)))
	}
	add("state", state)
	if !s.LastActive.IsZero() {
		add("lastactive", s.LastActive.Format(time.RFC3339Nano))
	}
	if s.ContentType != "" {
		add("contenttype", s.ContentType)
	}
	if seconds := s.Refresh / time.Second; seconds > 0 {
		add("refresh", strconv.FormatInt(int64(seconds), 10))
	}
	return e.Append([]byte(xmltree.Declaration), "")
}
