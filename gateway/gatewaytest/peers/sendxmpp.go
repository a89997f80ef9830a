package peers

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// A Sendxmpp is a go-sendxmpp that is logged in: a client program that sends
// what it is told to one correspondent, and shows each stanza that it receives.
type Sendxmpp struct {
	Stanzas

	in io.Writer
}

// Stanzas is an XMPP client whose output holds each stanza that it receives.
type Stanzas struct{ *Process }

// StartSendxmpp logs user in, as user@domain with [Password], and returns when
// its presence is known to the server. The client finds the server by the
// _xmpp-client and _xmpps-client records of the zone and verifies it, unless
// flags say otherwise.
func (n *Net) StartSendxmpp(user, correspondent string, flags ...string) *Sendxmpp {
	n.t.Helper()
	args := append(flags, "--debug", "--interactive", "-u", user, "-p", Password, correspondent)
	cmd := n.command("go-sendxmpp", args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	s := &Sendxmpp{in: in, Stanzas: Stanzas{n.start("go-sendxmpp "+user, cmd)}}
	s.AwaitLine(0, "<presence ", "from='"+user+"/")
	return s
}

// Say sends one line; the client adds its line end to the body.
func (s *Sendxmpp) Say(line string) {
	s.t.Helper()
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		s.t.Fatalf("peers: %s: %v", s.name, err)
	}
}

// A Stanza is what a test may want to know of a message stanza.
type Stanza struct {
	From string `xml:"from,attr"`
	To   string `xml:"to,attr"`
	ID   string `xml:"id,attr"`
	Type string `xml:"type,attr"`
	Body string `xml:"body"`

	// Receipt is of the message that it names, and Request asks for one
	// (XEP-0184, section 5).
	Receipt struct {
		ID string `xml:"id,attr"`
	} `xml:"urn:xmpp:receipts received"`
	Request *struct{} `xml:"urn:xmpp:receipts request"`

	Error struct {
		Type      string `xml:"type,attr"`
		Text      string `xml:"urn:ietf:params:xml:ns:xmpp-stanzas text"`
		Condition []struct {
			XMLName xml.Name
		} `xml:",any"`
	} `xml:"error"`
}

// Condition is the stanza error's defined condition, or "".
func (m Stanza) Condition() string {
	for _, c := range m.Error.Condition {
		if c.XMLName.Space == "urn:ietf:params:xml:ns:xmpp-stanzas" {
			return c.XMLName.Local
		}
	}
	return ""
}

// String is the stanza on one line, for the test's log.
func (m Stanza) String() string {
	return fmt.Sprintf("%s %s->%s %q %s %q", m.Type, m.From, m.To, m.Body, m.Condition(), m.Error.Text)
}

// AwaitMessage waits for a message after mark whose body is text, apart from
// space at its ends, and returns it.
func (s Stanzas) AwaitMessage(mark int, text string) Stanza {
	s.t.Helper()
	return s.await(mark, fmt.Sprintf("message %q", text), func(m Stanza) bool {
		return m.Type != "error" && strings.TrimSpace(m.Body) == text
	})
}

// AwaitError waits for an error stanza after mark from one of the addresses of
// the bare JID, and returns it.
func (s Stanzas) AwaitError(mark int, from string) Stanza {
	s.t.Helper()
	return s.await(mark, "error from "+from, func(m Stanza) bool {
		bare, _, _ := strings.Cut(m.From, "/")
		return m.Type == "error" && bare == from
	})
}

// AwaitReceipt waits for the receipt of a message after mark.
func (s Stanzas) AwaitReceipt(mark int, id string) Stanza {
	s.t.Helper()
	return s.await(mark, "receipt of "+id, func(m Stanza) bool { return m.Type != "error" && m.Receipt.ID == id })
}

func (s Stanzas) await(mark int, what string, want func(Stanza) bool) (found Stanza) {
	s.t.Helper()
	s.Await(mark, what, func(text string) bool {
		for _, m := range stanzasIn(text) {
			if want(m) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// stanzasIn reads the whole message stanzas in the client's output, which mixes
// them with words of its own.
func stanzasIn(text string) (all []Stanza) {
	for {
		start := strings.Index(text, "<message ")
		if start < 0 {
			return all
		}
		text = text[start:]
		var m Stanza
		d := xml.NewDecoder(strings.NewReader(text))
		if err := d.Decode(&m); err != nil {
			return all // the rest has not come yet
		}
		all = append(all, m)
		text = text[d.InputOffset():]
	}
}
