package s2s

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/time/rate"

	"cpimgate/federation"
	"cpimgate/federation/trust"
)

// accept takes connections until the listener is closed.
func (s *Server) accept(ctx context.Context, l net.Listener, via federation.Transport) error {
	for {
		nc, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				nc.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("s2s: %s: %w", l.Addr(), err)
		case err != nil: // out of descriptors, for example: it may pass
			s.cfg.Log.Error("cannot accept", "addr", l.Addr().String(), "err", err)
			pause(ctx, 100*time.Millisecond)
			continue
		}
		if !s.admit(nc) {
			s.cfg.Count(Overrun)
			s.cfg.Log.Warn("connection refused: too many", "addr", nc.RemoteAddr().String())
			nc.Close()
			continue
		}
		tune(nc)
		in := &inbound{link: newLink(nc, via, s.lim), srv: s, pairs: map[key]federation.Peer{}, asking: map[key]bool{}}
		in.pace = rate.NewLimiter(rate.Limit(s.cfg.Rate), max(1, int(s.cfg.Rate)))
		if !s.begin(func(context.Context) { in.run(ctx); s.release(nc) }) {
			nc.Close()
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// admit counts a connection, unless there are too many of them: in all, from
// its address, or within a minute (XEP-0205, section 3).
func (s *Server) admit(nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	host := hostOf(nc)
	if now := time.Now(); now.Sub(s.minute) >= time.Minute {
		clear(s.tries)
		s.minute = now
	}
	s.tries[host]++
	if s.tries[host] > s.cfg.Attempts || s.conns[""] >= s.lim.Conns || s.conns[host] >= s.lim.ConnsPerIP {
		return false
	}
	s.conns[""]++
	s.conns[host]++
	return true
}

func (s *Server) release(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	host := hostOf(nc)
	s.conns[""]--
	if s.conns[host]--; s.conns[host] == 0 {
		delete(s.conns, host)
	}
}

func hostOf(nc net.Conn) string {
	if host, _, err := net.SplitHostPort(nc.RemoteAddr().String()); err == nil {
		return host
	}
	return nc.RemoteAddr().String()
}

// direct is the TLS of listeners without STARTTLS (XEP-0368, section 3).
func (s *Server) direct() *tls.Config {
	cfg := s.cfg.Trust.Server(federation.XMPP).Clone()
	cfg.NextProtos = []string{trust.ALPN}
	return cfg
}

// starttls is the TLS that follows a stream header: who sends no SNI gets the
// certificate of the header's "to" (RFC 6120, section 5.4.3.1).
func (in *inbound) starttls() *tls.Config {
	cfg, to := in.srv.cfg.Trust.Server(federation.XMPP).Clone(), in.to
	choose := cfg.GetCertificate
	cfg.GetCertificate = func(chi *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if chi.ServerName == "" {
			named := *chi
			named.ServerName, chi = to, &named
		}
		return choose(chi)
	}
	return cfg
}

// asks notes that a call back for a pair is on its way, unless one is, or
// there is no room for another.
func (in *inbound) asks(k key) (again, room bool) {
	in.state.Lock()
	defer in.state.Unlock()
	again = in.asking[k]
	room = !again && len(in.asking) < maxAsking && len(in.asking)+len(in.pairs) < maxPairs
	if room {
		in.asking[k] = true
	}
	return again, room
}

// asked notes the end of a call back.
func (in *inbound) asked(k key) {
	in.state.Lock()
	defer in.state.Unlock()
	delete(in.asking, k)
}

func (in *inbound) authorised() bool {
	in.state.Lock()
	defer in.state.Unlock()
	return len(in.pairs) > 0
}

// authorise lets the stream carry stanzas of a pair. An older stream for that
// pair is at its end: its peer has restarted (RFC 6120, section 4.9.3.3).
func (in *inbound) authorise(k key, proof federation.Proof) {
	in.state.Lock()
	_, again := in.pairs[k]
	in.pairs[k] = federation.Peer{Domains: []string{k.from}, Proof: proof, Addr: in.addr, Via: in.via}
	if in.idle == nil {
		in.since = time.Now()
		in.idle = time.AfterFunc(in.lim.Idle, in.bye)
	}
	if proof == federation.Certificate && in.expiry == nil {
		in.expiry = in.untilExpiry(func() { in.end(errExpired.append(nil)) })
	}
	in.state.Unlock()
	in.settle()

	in.srv.mu.Lock()
	older := in.srv.streams[k]
	in.srv.streams[k] = in
	in.srv.mu.Unlock()
	if older != nil && older != in {
		in.srv.begin(func(context.Context) {
			older.end((&streamError{condition: "conflict", text: "a newer stream has taken over"}).append(nil))
		})
	}
	if !again {
		in.log().Info("peer up", "peer", k.from, "to", k.to, "proof", proof.String())
	}
}

// fail ends the stream from another goroutine than its reader's.
func (in *inbound) fail(err error) {
	in.state.Lock()
	in.why = err
	in.state.Unlock()
	in.stop()
}

// leave takes the stream out of the Server.
func (in *inbound) leave(err error) {
	if err == io.EOF {
		err = errors.New("closed by the peer")
	}
	in.state.Lock()
	defer in.state.Unlock()
	in.srv.mu.Lock()
	for k := range in.pairs {
		if in.srv.streams[k] == in {
			delete(in.srv.streams, k)
		}
	}
	in.srv.mu.Unlock()
	for k := range in.pairs {
		in.log().Info("peer down", "peer", k.from, "to", k.to, "err", err)
	}
	if len(in.pairs) == 0 && err != nil && !in.answered {
		in.srv.cfg.Count(Refused)
		in.log().Info("stream refused", "from", in.from, "to", in.to, "err", err)
	}
}

func (in *inbound) status(k key) Status {
	in.state.Lock()
	defer in.state.Unlock()
	st := Status{From: k.from, To: k.to, Inbound: true, Up: true, Since: in.since, Proof: in.pairs[k].Proof, Addr: in.addr.String()}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.tls != nil {
		st.TLS = in.tls.Version
	}
	return st
}
