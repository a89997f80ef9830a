package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A sipMessage is a request or a response, as little understood as counting
// takes. Header names are in textproto's spelling.
type sipMessage struct {
	start string
	head  textproto.MIMEHeader
	body  string
}

// compact forms of the header fields that are read here (RFC 3261, section
// 7.3.3).
var compact = map[string]string{"V": "Via", "F": "From", "T": "To", "I": "Call-Id", "L": "Content-Length"}

// maxBody is far more than any of our messages.
const maxBody = 1 << 16

// readSIP reads one message from a stream, or from a datagram that is a stream
// with one message.
func readSIP(r *bufio.Reader) (*sipMessage, error) {
	tp := textproto.NewReader(r)
	m := &sipMessage{}
	var err error
	for m.start == "" { // CRLF between messages (RFC 3261, section 7.5)
		if m.start, err = tp.ReadLine(); err != nil {
			return nil, err
		}
	}
	if m.head, err = tp.ReadMIMEHeader(); err != nil {
		return nil, err
	}
	for short, long := range compact {
		m.head[long] = append(m.head[long], m.head[short]...)
	}
	n, err := strconv.Atoi(m.head.Get("Content-Length"))
	if err != nil || n < 0 || n > maxBody {
		return nil, fmt.Errorf("Content-Length %q", m.head.Get("Content-Length"))
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	m.body = string(body)
	return m, nil
}

// status is that of a response, or 0.
func (m *sipMessage) status() int {
	rest, ok := strings.CutPrefix(m.start, "SIP/2.0 ")
	if !ok || len(rest) < 3 {
		return 0
	}
	n, err := strconv.Atoi(rest[:3])
	if err != nil {
		return 0
	}
	return n
}

// branch identifies the transaction (RFC 3261, section 17.1.3).
func (m *sipMessage) branch() string {
	via, _, _ := strings.Cut(m.head.Get("Via"), ",")
	_, b, _ := strings.Cut(via, "branch=")
	b, _, _ = strings.Cut(b, ";")
	return b
}

// user is whom a request is for: To, since the Request-URI may be a client's.
func (m *sipMessage) user() string {
	to, _, _ := strings.Cut(m.head.Get("To"), ">")
	_, user, _ := strings.Cut(to, "sip:")
	return user
}

// answer returns the 200 to a request (RFC 3261, section 8.2.6.2).
func (m *sipMessage) answer() []byte {
	var b bytes.Buffer
	b.WriteString("SIP/2.0 200 OK\r\n")
	for _, name := range []string{"Via", "From", "To", "Call-Id", "Cseq"} {
		for _, v := range m.head[name] {
			if name == "To" && !strings.Contains(v, ";tag=") {
				v += ";tag=load"
			}
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	b.WriteString("Content-Length: 0\r\n\r\n")
	return b.Bytes()
}

// A sipSite is users of one domain behind one socket, or, as a server, behind
// one socket and what it accepts.
type sipSite struct {
	transport string
	got       delivery
	reading   sync.WaitGroup

	// Of a site of clients.
	server  string
	conf    *tls.Config
	users   []string
	patient bool // the server may go and come back

	mu       sync.Mutex
	out      hop
	closers  []io.Closer
	waiting  map[string]chan *sipMessage
	answered map[string]bool // UDP: requests that may come again
}

// A hop is where requests go to.
type hop struct {
	io.Writer
	local string        // address and port in Via and Contact
	lost  chan struct{} // closed when nothing comes back any more
}

func newSIPSite(transport string, got delivery) *sipSite {
	return &sipSite{
		transport: transport, got: got,
		waiting: make(map[string]chan *sipMessage), answered: make(map[string]bool),
	}
}

// openSIP connects to a registrar and registers all users over the one
// connection.
func openSIP(ctx context.Context, server, transport string, conf *tls.Config, patient bool, users []string, got delivery) (site, error) {
	s := newSIPSite(transport, got)
	s.server, s.conf, s.patient, s.users = server, conf, patient, users
	err := s.dial(ctx, server, "", conf)
	if err == nil {
		err = s.register(ctx)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// register makes all users known to the registrar.
func (s *sipSite) register(ctx context.Context) error {
	for _, u := range s.users {
		name, domain, _ := strings.Cut(u, "@")
		contact := fmt.Sprintf("<sip:%s@%s;transport=%s>", name, s.hop().local, s.transport)
		l := letter{from: u, to: u, id: rand.Text()}
		if err := s.request(ctx, "REGISTER", "sip:"+domain, l, "Contact: "+contact+"\r\nExpires: 3600\r\n"); err != nil {
			return err
		}
	}
	return nil
}

// retry is between two attempts to reach a server that comes back.
const retry = 100 * time.Millisecond

// pause waits, and reports false when the time is over.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// revive implements [reviver]: a server that was away has forgotten who is
// where.
func (s *sipSite) revive(ctx context.Context) error {
	for {
		err := s.register(ctx)
		if err == nil {
			return nil
		}
		if !pause(ctx, retry) {
			return err
		}
		if s.transport != "udp" && closed(s.hop().lost) {
			_ = s.dial(ctx, s.server, "", s.conf) // else once more
		}
	}
}

func (s *sipSite) hop() hop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out
}

// dial connects the site; its messages come from the host of local, if that is
// given.
func (s *sipSite) dial(ctx context.Context, server, local string, conf *tls.Config) error {
	network := map[string]string{"udp": "udp", "tcp": "tcp", "tls": "tcp"}[s.transport]
	if network == "" {
		return fmt.Errorf("%q is no transport", s.transport)
	}
	d := net.Dialer{}
	if local != "" {
		host, _, _ := net.SplitHostPort(local)
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(host)}
	}
	c, err := d.DialContext(ctx, network, server)
	if err != nil {
		return err
	}
	if s.transport == "tls" {
		t := tls.Client(c, conf)
		if err := t.HandshakeContext(ctx); err != nil {
			c.Close()
			return err
		}
		c = t
	}
	h := hop{c, cmp.Or(local, c.LocalAddr().String()), make(chan struct{})}
	s.mu.Lock()
	s.out = h
	s.mu.Unlock()
	s.serve(c, h.lost)
	return nil
}

// serve reads a connection until it is closed, and closes lost then.
func (s *sipSite) serve(c net.Conn, lost chan struct{}) {
	s.keep(c)
	s.reading.Go(func() {
		defer close(lost)
		if s.transport == "udp" {
			s.readDatagrams(func(buf []byte) (int, io.Writer, error) {
				n, err := c.Read(buf)
				return n, c, err
			})
			return
		}
		r := bufio.NewReader(c)
		for {
			m, err := readSIP(r)
			if err != nil {
				return
			}
			s.take(m, c)
		}
	})
}

// keep remembers what close is to close.
func (s *sipSite) keep(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, c)
}

func (s *sipSite) readDatagrams(read func([]byte) (int, io.Writer, error)) {
	buf := make([]byte, maxBody)
	for {
		n, back, err := read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a port that was closed answers by ICMP
		}
		if m, err := readSIP(bufio.NewReader(bytes.NewReader(buf[:n]))); err == nil {
			s.take(m, back)
		}
	}
}

// take handles one message; answers go back on the connection that it came on.
func (s *sipSite) take(m *sipMessage, back io.Writer) {
	b := m.branch()
	if m.status() != 0 {
		s.mu.Lock()
		w := s.waiting[b]
		s.mu.Unlock()
		if w != nil && m.status() >= 200 {
			select {
			case w <- m:
			default: // a response that came twice
			}
		}
		return
	}
	s.mu.Lock()
	again := s.transport == "udp" && s.answered[b]
	s.answered[b] = s.transport == "udp"
	s.mu.Unlock()
	if !again && strings.HasPrefix(m.start, "MESSAGE ") {
		s.got(m.user(), m.head.Get("Call-Id"), m.body, nil)
	}
	_, _ = back.Write(m.answer()) // without it the request comes again, or fails
}

// send implements [site]. A user who knows that the connection is lost waits for
// the next one, if there is to be one.
func (s *sipSite) send(ctx context.Context, l letter) error {
	for s.patient && closed(s.hop().lost) {
		if !pause(ctx, retry) {
			return ctx.Err()
		}
	}
	return s.request(ctx, "MESSAGE", "sip:"+l.to, l, "Content-Type: text/plain;charset=utf-8\r\n")
}

// request sends a request and waits for its final answer, which is to be a
// success.
func (s *sipSite) request(ctx context.Context, method, uri string, l letter, headers string) error {
	branch, h := "z9hG4bK"+rand.Text(), s.hop()
	text := fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/%s %s;branch=%s;rport\r\nMax-Forwards: 70\r\n"+
		"From: <sip:%s>;tag=%s\r\nTo: <sip:%s>\r\nCall-ID: %s\r\nCSeq: 1 %s\r\n%sContent-Length: %d\r\n\r\n%s",
		method, uri, strings.ToUpper(s.transport), h.local, branch, l.from, branch[7:15], l.to, l.id, method, headers, len(l.body), l.body)
	answer := make(chan *sipMessage, 1)
	s.mu.Lock()
	s.waiting[branch] = answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, branch)
		s.mu.Unlock()
	}()
	m, err := s.exchange(ctx, h, []byte(text), answer)
	if err != nil {
		return err
	}
	if m.status() >= 300 {
		return fmt.Errorf("%s: %w", method, errors.New(m.start))
	}
	return nil
}

var (
	errSilent = errors.New("no answer")
	errLost   = errors.New("the connection was lost before the answer")
)

// exchange writes a request, over UDP again and again until it is answered
// (RFC 3261, section 17.1.2.2).
func (s *sipSite) exchange(ctx context.Context, h hop, text []byte, answer <-chan *sipMessage) (*sipMessage, error) {
	const t1, t2 = 500 * time.Millisecond, 4 * time.Second
	late := time.NewTimer(64 * t1)
	defer late.Stop()
	for wait := t1; ; wait = min(2*wait, t2) {
		if _, err := h.Write(text); err != nil && s.transport != "udp" {
			return nil, errLost
		}
		if s.transport != "udp" {
			wait = 64 * t1
		}
		again := time.NewTimer(wait)
		select {
		case m := <-answer:
			again.Stop()
			return m, nil
		case <-again.C:
		case <-h.lost:
			select {
			case m := <-answer: // its last word
				return m, nil
			default:
				return nil, errLost
			}
		case <-late.C:
			return nil, errSilent
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// close implements [site].
func (s *sipSite) close() {
	s.mu.Lock()
	for _, c := range s.closers {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.reading.Wait()
}
