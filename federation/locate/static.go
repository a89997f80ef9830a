package locate

import (
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"cpimgate/cpim/fault"
)

// Static is a zone in memory (RFC 1035): a small real thing for
// tests and the demo, as [Resolver] and, by Serve, as a server for others. It
// has no wildcards and no delegations.
type Static struct {
	mu     sync.RWMutex
	rrs    map[string][]dns.RR // by owner name, lower case
	exists map[string]bool     // owner names and all names above them
	broken []string
}

// NewStatic reads a zone file whose origin is the root. It may hold many
// domains; a SOA record at or above a name says for how long a "no" holds.
func NewStatic(zone string) (*Static, error) {
	s := &Static{}
	return s, s.Set(zone)
}

// Set replaces the zone.
func (s *Static) Set(zone string) error {
	rrs, exists := make(map[string][]dns.RR), make(map[string]bool)
	p := dns.NewZoneParser(strings.NewReader(zone), ".", "")
	p.SetDefaultTTL(300)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		name := dns.CanonicalName(rr.Header().Name)
		if strings.HasPrefix(name, "*") {
			return fault.E(fault.Unsupported, "wildcards in a static zone")
		}
		rrs[name] = append(rrs[name], rr)
		for n := range upward(name) {
			exists[n] = true
		}
	}
	if err := p.Err(); err != nil {
		return fault.Wrap(fault.Malformed, err, "zone")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rrs, s.exists = rrs, exists
	return nil
}

// Break makes every question at or below these names fail, as a domain whose
// servers are down does. Without names all is well again.
func (s *Static) Break(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = nil
	for _, n := range names {
		s.broken = append(s.broken, dns.CanonicalName(n))
	}
}

// Lookup implements [Resolver].
func (s *Static) Lookup(_ context.Context, name string, qtype uint16) (Answer, error) {
	q := dns.Question{Name: dns.CanonicalName(name), Qtype: qtype, Qclass: dns.ClassINET}
	msg := new(dns.Msg)
	msg.Question = []dns.Question{q}
	s.answer(msg)
	return read(msg, q)
}

// Serve answers on a UDP and a TCP listener until ctx is done, and closes
// them. Either may be nil.
func (s *Static) Serve(ctx context.Context, pc net.PacketConn, l net.Listener) error {
	var servers []*dns.Server
	var sockets []io.Closer
	if pc != nil {
		servers, sockets = append(servers, &dns.Server{PacketConn: pc, Handler: s}), append(sockets, pc)
	}
	if l != nil {
		servers, sockets = append(servers, &dns.Server{Listener: l, Handler: s}), append(sockets, l)
	}
	stop := context.AfterFunc(ctx, func() { // the servers end with their sockets
		for _, c := range sockets {
			_ = c.Close()
		}
	})
	defer stop()
	errs := make([]error, len(servers))
	var wg sync.WaitGroup // waits below
	for i, srv := range servers {
		wg.Go(func() { errs[i] = srv.ActivateAndServe() })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(errs...)
}

// ServeDNS implements [dns.Handler].
func (s *Static) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	msg := new(dns.Msg).SetReply(req)
	msg.RecursionAvailable = true
	if len(req.Question) == 1 {
		s.answer(msg)
	} else {
		msg.Rcode = dns.RcodeFormatError
	}
	if _, udp := w.LocalAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if opt := req.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		msg.Truncate(size)
	}
	_ = w.WriteMsg(msg) // whoever asked is gone: nothing to tell
}

// answer fills in the answer to the one question of msg.
func (s *Static) answer(msg *dns.Msg) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	q := msg.Question[0]
	name := dns.CanonicalName(q.Name)
	for _, b := range s.broken {
		if dns.IsSubDomain(b, name) {
			msg.Rcode = dns.RcodeServerFailure
			return
		}
	}
	for range maxAliases + 1 {
		alias := ""
		for _, rr := range s.rrs[name] {
			if c, ok := rr.(*dns.CNAME); ok && q.Qtype != dns.TypeCNAME {
				msg.Answer, alias = append(msg.Answer, rr), dns.CanonicalName(c.Target)
			} else if rr.Header().Rrtype == q.Qtype {
				msg.Answer = append(msg.Answer, rr)
			}
		}
		if alias == "" {
			break
		}
		name = alias
	}
	if len(msg.Answer) > 0 && msg.Answer[len(msg.Answer)-1].Header().Rrtype == q.Qtype {
		return
	}
	if !s.exists[name] {
		msg.Rcode = dns.RcodeNameError
	}
	msg.Ns = s.authority(name)
}

// authority returns the SOA record of the closest zone that has one; it says
// how long a "no" holds (RFC 2308).
func (s *Static) authority(name string) []dns.RR {
	for n := range upward(name) {
		for _, rr := range s.rrs[n] {
			if rr.Header().Rrtype == dns.TypeSOA {
				return []dns.RR{rr}
			}
		}
	}
	return nil
}

// upward yields a name and all names above it, the root last.
func upward(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
			if name != "." && !yield(name[off:]) {
				return
			}
		}
		yield(".")
	}
}
