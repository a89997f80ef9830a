package locate

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"cpimgate/cpim/fault"
)

// The size of an answer over UDP that passes everywhere without fragments
// (RFC 6891; DNS flag day 2020).
const udpSize = 1232

// DNS asks recursive servers in turn: UDP with EDNS0 (RFC 6891), TCP when the
// answer is truncated (RFC 7766). The servers follow aliases. Set
// the fields before the first use.
//
// Each question has a socket and a random id of its own, and what does not
// answer it is not read (RFC 5452).
type DNS struct {
	Servers  []string      // host:port
	Timeout  time.Duration // of one attempt; 2 s
	Attempts int           // rounds over all servers; 2
}

// NewDNS returns a resolver over servers ("192.0.2.53", "[2001:db8::1]:5353"),
// or over those of /etc/resolv.conf if there are none.
func NewDNS(servers []string) (*DNS, error) {
	d := &DNS{Timeout: 2 * time.Second, Attempts: 2}
	if len(servers) == 0 {
		conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil {
			return nil, fault.Wrap(fault.Internal, err, "no DNS servers: name them under dns: in the configuration")
		}
		servers = conf.Servers
	}
	for _, s := range servers {
		addr, err := serverAddr(s)
		if err != nil {
			return nil, err
		}
		d.Servers = append(d.Servers, addr)
	}
	if len(d.Servers) == 0 {
		return nil, fault.E(fault.Internal, "no DNS servers in /etc/resolv.conf: name them under dns: in the configuration")
	}
	return d, nil
}

// serverAddr adds the port of the DNS to an address that has none.
func serverAddr(s string) (string, error) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.String(), nil
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return "", fault.E(fault.Malformed, "DNS server %q is not an IP address, with or without a port", s)
	}
	return netip.AddrPortFrom(a, 53).String(), nil
}

// Lookup implements [Resolver].
func (d *DNS) Lookup(ctx context.Context, name string, qtype uint16) (Answer, error) {
	req := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	req.SetEdns0(udpSize, false)
	if _, ok := dns.IsDomainName(req.Question[0].Name); !ok {
		return Answer{}, fault.E(fault.NoRoute, "not a name for the DNS")
	}
	var last error
	for range d.Attempts {
		for _, server := range d.Servers {
			a, err := d.ask(ctx, server, req)
			if err == nil {
				return a, nil
			}
			last = err
			if ctx.Err() != nil {
				return Answer{}, fault.Wrap(fault.Timeout, ctx.Err(), "DNS")
			}
		}
	}
	return Answer{}, last
}

// ask puts the question to one server, again over TCP if the answer does not
// fit.
func (d *DNS) ask(ctx context.Context, server string, req *dns.Msg) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	// Only a resolver on this machine can say "validated" without a liar on the
	// way (RFC 4035); the bit asks for its word (RFC 6840).
	ap, _ := netip.ParseAddrPort(server)
	local := ap.Addr().IsLoopback()
	req = req.Copy()
	req.Id = dns.Id()
	req.AuthenticatedData = local

	resp, err := exchange(ctx, "udp", server, req)
	if err == nil && resp.Truncated {
		resp, err = exchange(ctx, "tcp", server, req)
	}
	if err != nil {
		return Answer{}, fault.Wrap(fault.Timeout, err, "DNS server %s", server)
	}
	a, err := read(resp, req.Question[0])
	if err != nil {
		return Answer{}, fault.Wrap(fault.Timeout, err, "DNS server %s", server)
	}
	a.Authenticated = local && resp.AuthenticatedData
	return a, nil
}

// exchange sends one request and reads until its answer comes.
func exchange(ctx context.Context, network, server string, req *dns.Msg) (*dns.Msg, error) {
	raw, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	conn := &dns.Conn{Conn: raw, UDPSize: udpSize}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.WriteMsg(req); err != nil {
		return nil, err
	}
	for {
		resp, err := conn.ReadMsg()
		if resp == nil {
			return nil, err
		}
		// What is cut off need not parse, and is asked for again anyway.
		if answers(resp, req) && (err == nil || resp.Truncated) {
			return resp, nil
		}
		// Over UDP anybody can send us something: wait for the right one.
		if network != "udp" {
			return nil, fault.Wrap(fault.Timeout, err, "answer does not match the question")
		}
	}
}

// answers reports whether resp belongs to req (RFC 5452).
func answers(resp, req *dns.Msg) bool {
	if !resp.Response || resp.Id != req.Id || resp.Opcode != req.Opcode || len(resp.Question) != 1 {
		return false
	}
	q, want := resp.Question[0], req.Question[0]
	return q.Qtype == want.Qtype && q.Qclass == want.Qclass && dns.CanonicalName(q.Name) == dns.CanonicalName(want.Name)
}
