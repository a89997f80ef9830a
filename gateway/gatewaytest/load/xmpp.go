package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
)

// A stanza is the part of a message that is counted, and what a stream's
// negotiation needs.
type stanza struct {
	XMLName xml.Name
	From    string `xml:"from,attr"`
	To      string `xml:"to,attr"`
	ID      string `xml:"id,attr"`
	H       uint32 `xml:"h,attr"` // of an acknowledgement (XEP-0198, section 4)
	Type    string `xml:"type,attr"`
	Body    string `xml:"body"`
	Error   struct {
		Inner string `xml:",innerxml"`
	} `xml:"error"`
	Mechanisms []string `xml:"urn:ietf:params:xml:ns:xmpp-sasl mechanisms>mechanism"`
}

// A stream is one XML stream over TLS, either way (RFC 6120, section 4).
type stream struct {
	conn net.Conn
	dec  *xml.Decoder
	mu   sync.Mutex // of writing
}

func newStream(c net.Conn) *stream { return &stream{conn: c, dec: xml.NewDecoder(c)} }

// write sends text as it is.
func (s *stream) write(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.conn.Write([]byte(text))
	return err
}

// open sends a header and reads the peer's.
func (s *stream) open(header string) error {
	if err := s.write(header); err != nil {
		return err
	}
	s.dec = xml.NewDecoder(s.conn) // a new document
	return s.header()
}

// header reads up to the peer's stream header.
func (s *stream) header() error {
	for {
		t, err := s.dec.Token()
		if err != nil {
			return err
		}
		if e, ok := t.(xml.StartElement); ok {
			if e.Name.Local != "stream" {
				return fmt.Errorf("<%s> where a stream was to begin", e.Name.Local)
			}
			return nil
		}
	}
}

// next reads one element of the stream.
func (s *stream) next() (*stanza, error) {
	for {
		t, err := s.dec.Token()
		if err != nil {
			return nil, err
		}
		switch e := t.(type) {
		case xml.StartElement:
			var x stanza
			if err := s.dec.DecodeElement(&x, &e); err != nil {
				return nil, err
			}
			return &x, nil
		case xml.EndElement:
			return nil, errors.New("the peer has closed the stream")
		}
	}
}

// expect reads one element and wants this name.
func (s *stream) expect(name string) (*stanza, error) {
	x, err := s.next()
	if err == nil && x.XMLName.Local != name {
		err = fmt.Errorf("<%s> where <%s> was to come", x.XMLName.Local, name)
	}
	return x, err
}

// login opens a stream and authenticates (RFC 6120, section 6.4).
func (s *stream) login(header, mechanism, initial string) error {
	if err := s.open(header); err != nil {
		return err
	}
	if _, err := s.expect("features"); err != nil {
		return err
	}
	err := s.write(fmt.Sprintf("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='%s'>%s</auth>", mechanism, initial))
	if err != nil {
		return err
	}
	if _, err := s.expect("success"); err != nil {
		return err
	}
	if err := s.open(header); err != nil {
		return err
	}
	_, err = s.expect("features")
	return err
}

// dialTLS connects for direct TLS (XEP-0368); the negotiation that follows has
// ctx's deadline, the stream after it none.
func dialTLS(ctx context.Context, addr string, conf *tls.Config) (*stream, error) {
	c, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if t, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(t); err != nil {
			return nil, err
		}
	}
	return newStream(c), nil
}

// deliver passes messages and errors on.
func deliver(x *stanza, user string, got delivery) {
	switch {
	case x.XMLName.Local != "message":
	case x.Type == "error":
		got(user, x.ID, x.Body, fmt.Errorf("stanza error from %s: %w", x.From, errors.New(x.Error.Inner)))
	default:
		got(user, x.ID, x.Body, nil)
	}
}

// stanza writes a message; from is an attribute, or nothing for a client.
func (l letter) stanza(from string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<message type='chat' id='%s' to='%s'%s><body>", l.id, l.to, from)
	var text bytes.Buffer
	_ = xml.EscapeText(&text, []byte(l.body)) // a buffer takes all
	b.Write(text.Bytes())
	b.WriteString("</body></message>")
	return b.String()
}
