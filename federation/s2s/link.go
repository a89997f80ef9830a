package s2s

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// A link is one connection and the XML stream on it, as far as both directions
// of use have it in common. Its owner reads; anybody may write.
type link struct {
	lim   federation.Limits
	raw   net.Conn // TCP
	nc    net.Conn // TCP, or TLS over it
	addr  netip.AddrPort
	via   federation.Transport
	tls   *tls.ConnectionState // nil before TLS
	in    *bufio.Reader
	xml   *xmltree.Reader
	taken int    // bytes that have come since pace has looked; for the reader
	space string // content namespace, of our header and the peer's
	lang  string // the default of the peer's stanzas (RFC 6120, section 4.7.4)

	writing chan struct{} // whoever has put the one token there may write

	mu    sync.Mutex // nc and tls, and the fields below
	begun bool       // our header was written, on this layer
	ended bool       // our end tag was written, or is about to be
	last  time.Time  // when all must be over; zero: open
}

func newLink(nc net.Conn, via federation.Transport, lim federation.Limits) *link {
	l := &link{space: xep.NS, lim: lim, raw: nc, nc: nc, via: via, writing: make(chan struct{}, 1)}
	l.in = bufio.NewReader(l)
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		l.addr = a.AddrPort()
	}
	return l
}

// secure puts TLS over the connection. What the peer has sent in the clear and
// was not read yet is dropped with all that was learned from it (RFC 6120,
// section 5.4.3.3).
func (l *link) secure(ctx context.Context, conn *tls.Conn) error {
	l.in.Discard(l.in.Buffered())
	l.mu.Lock()
	l.begun = false
	l.mu.Unlock()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	state := conn.ConnectionState()
	l.mu.Lock()
	l.nc, l.tls = conn, &state
	l.mu.Unlock()
	l.in.Reset(l)
	return nil
}

// Read takes bytes from the connection as it is, and counts them. It is the
// reader's.
func (l *link) Read(p []byte) (int, error) {
	n, err := l.nc.Read(p)
	l.taken += n
	return n, err
}

// open reads the start tag of a stream (RFC 6120, section 4.2).
func (l *link) open() (*xmltree.Element, error) {
	l.xml = xmltree.NewReader(l.in, xmltree.Limits{
		Bytes: l.lim.Message, Depth: l.lim.Depth, Attributes: l.lim.Attributes, Children: l.lim.Children,
	})
	h, err := l.xml.Open()
	if err != nil {
		return nil, err
	}
	l.lang = h.GetName(xmltree.Lang)
	switch {
	case h.Name.Local != "stream":
		return h, refuse("bad-format", "not a stream")
	case h.Name.Space != nsStream:
		return h, refuse("invalid-namespace", "not the namespace of streams")
	}
	if space := l.xml.Default(); space != "" && space != l.space { // RFC 6120, section 4.8.2
		return h, refuse("invalid-namespace", "a stream of %s", printable(space))
	}
	return h, nil
}

// next reads one element. It returns io.EOF when the peer has closed the
// stream, and the peer's stream error as an error.
func (l *link) next() (*xmltree.Element, error) {
	e, err := l.xml.Next()
	if err == nil && e.Is(nsStream, "error") {
		return nil, readStreamError(e)
	}
	return e, err
}

// begin writes our header.
func (l *link) begin(b []byte) error {
	l.mu.Lock()
	l.begun = true
	l.mu.Unlock()
	_, err := l.write(b)
	return err
}

// write writes whole elements. Nothing may follow our end tag (RFC 6120,
// section 4.4).
func (l *link) write(b []byte) (int, error) {
	return l.compose(func() []byte { return b })
}

// compose writes what text returns: nothing comes between the two.
func (l *link) compose(text func() []byte) (int, error) {
	l.writing <- struct{}{}
	defer func() { <-l.writing }()
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return 0, net.ErrClosed
	}
	nc := l.nc
	l.mu.Unlock()
	b := text()
	if len(b) == 0 {
		return 0, nil
	}
	l.mu.Lock()
	nc.SetWriteDeadline(l.before(time.Now().Add(l.lim.Write)))
	l.mu.Unlock()
	return nc.Write(b)
}

// before returns t, or the end of the link if that is earlier. l.mu is held.
func (l *link) before(t time.Time) time.Time {
	if !l.last.IsZero() && l.last.Before(t) {
		return l.last
	}
	return t
}

// hurry ends the link, whatever happens, a moment from now.
func (l *link) hurry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = time.Now().Add(moment)
	l.nc.SetWriteDeadline(l.last)
	if l.ended {
		l.nc.SetReadDeadline(l.last)
	}
}

// settle lifts the deadline that negotiation has had.
func (l *link) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.nc.SetReadDeadline(l.last)
	}
}

// stop makes the reader find the end.
func (l *link) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nc.SetReadDeadline(time.Now())
}

// drop ends a connection that does not take what we write.
func (l *link) drop() { l.raw.Close() }

// finish writes our end tag. What the peer still sends is read for closeTime,
// until its own (RFC 6120, section 4.4).
func (l *link) finish() { l.end([]byte(endTag)) }

const (
	closeTime = 5 * time.Second // how long we wait for a peer's end tag
	moment    = time.Second     // and when we are about to go
)

// end writes the last bytes of the stream, once.
func (l *link) end(last []byte) {
	l.writing <- struct{}{}
	defer func() { <-l.writing }()
	l.mu.Lock()
	nc, done := l.nc, l.ended || !l.begun
	if !l.ended && !l.begun {
		nc.SetReadDeadline(time.Now()) // there is no stream that could be ended
	}
	l.ended = true
	nc.SetWriteDeadline(l.before(time.Now().Add(closeTime)))
	l.mu.Unlock()
	if done {
		return
	}
	nc.Write(last)
	l.mu.Lock()
	defer l.mu.Unlock()
	nc.SetReadDeadline(l.before(time.Now().Add(closeTime)))
}

// shut ends the stream for the reason that reading it has ended, and closes the
// connection.
func (l *link) shut(reason error) {
	local, isStream := errors.AsType[*streamError](reason)
	bad, isXML := errors.AsType[*xmltree.Error](reason)
	switch {
	case isXML:
		l.end((&streamError{condition: string(bad.Condition), text: bad.Text}).append(nil))
	case isStream && !local.theirs:
		l.end(local.append(nil))
	default:
		l.finish()
	}
	if l.begun && (isXML || isStream && !local.theirs) {
		l.linger()
	}
	l.nc.Close()
}

// linger waits until the peer has read why it is refused: closing a connection
// while it sends would reset it and take the reason away.
func (l *link) linger() {
	type closer interface{ CloseWrite() error }
	if c, ok := l.nc.(closer); ok {
		c.CloseWrite()
	}
	l.nc.SetReadDeadline(time.Now().Add(moment))
	io.CopyN(io.Discard, l.nc, 1<<20)
}

// stanza tells apart what a stream carries (RFC 6120, sections 4.9.3.10,
// 4.9.3.24 and 8).
func stanza(e *xmltree.Element) error {
	switch e.Name.Local {
	case "message", "presence", "iq":
		if e.Name.Space != xep.NS {
			return refuse("invalid-namespace", "a stanza outside %s", xep.NS)
		}
		return nil
	}
	return refuse("unsupported-stanza-type", "%s", printable(e.Name.Local))
}
