package peers

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// apex is the zone that we are authoritative for. It is reserved for examples
// (RFC 2606), and resolvers do not answer for it by themselves.
const apex = "example."

// soa is there from the start; absence is forgotten as soon as presence is (RFC
// 2308).
const soa = "$TTL 1\nexample. SOA ns.example. hostmaster.example. 1 3600 600 86400 1\n"

// A zone answers for [apex] over UDP and TCP on one address.
type zone struct {
	mu      sync.RWMutex
	records map[string][]dns.RR // by lower-case owner name
	asked   *Log                // a line for each question
	servers [2]*dns.Server
	running sync.WaitGroup
}

// serveZone returns an empty zone served on port 53 of addr, or nil when the
// port is taken.
func serveZone(addr netip.Addr) *zone {
	at := netip.AddrPortFrom(addr, 53)
	pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		pc.Close()
		return nil
	}
	z := &zone{asked: newLog()}
	if err := z.set(""); err != nil {
		panic("peers: our own SOA: " + err.Error())
	}
	z.servers = [2]*dns.Server{{PacketConn: pc, Handler: z}, {Listener: l, Handler: z}}
	for _, s := range z.servers {
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		z.running.Go(func() { _ = s.ActivateAndServe() }) // close waits for it
		<-ready
	}
	return z
}

// close ends the service and returns when both servers have.
func (z *zone) close() {
	for _, s := range z.servers {
		_ = s.Shutdown()
	}
	z.running.Wait()
}

// set replaces all records.
func (z *zone) set(text string) error {
	records := make(map[string][]dns.RR)
	p := dns.NewZoneParser(strings.NewReader(soa+text+"\n"), apex, "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		name := strings.ToLower(rr.Header().Name)
		records[name] = append(records[name], rr)
	}
	if err := p.Err(); err != nil {
		return err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records = records
	return nil
}

// ServeDNS implements [dns.Handler]: one question, answered from the records as
// they are now (RFC 1034, without delegations and wildcards).
func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative, m.RecursionAvailable, m.Compress = true, true, true
	if len(q.Question) != 1 || !dns.IsSubDomain(apex, q.Question[0].Name) {
		m.Rcode = dns.RcodeRefused
		_ = w.WriteMsg(m)
		return
	}
	z.mu.RLock()
	defer z.mu.RUnlock()
	name, known := strings.ToLower(q.Question[0].Name), false
	for owner, rrs := range z.records {
		known = known || dns.IsSubDomain(name, owner) // a name exists when one below it does
		if owner != name {
			continue
		}
		for _, rr := range rrs {
			if t := rr.Header().Rrtype; t == q.Question[0].Qtype || t == dns.TypeCNAME {
				m.Answer = append(m.Answer, rr)
			}
		}
	}
	if len(m.Answer) == 0 {
		m.Ns = z.records[apex][:1]
	}
	if !known {
		m.Rcode = dns.RcodeNameError
	}
	fmt.Fprintf(z.asked, "%s %s: %s, %d records\n", name, dns.TypeToString[q.Question[0].Qtype], dns.RcodeToString[m.Rcode], len(m.Answer))
	_ = w.WriteMsg(m)
}
