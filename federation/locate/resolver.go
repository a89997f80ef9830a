package locate

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"cpimgate/cpim/fault"
)

// The types of records that we ask for.
const (
	TypeA     = dns.TypeA
	TypeAAAA  = dns.TypeAAAA
	TypeSRV   = dns.TypeSRV
	TypeNAPTR = dns.TypeNAPTR
)

// What we take from one message. A longer chain of aliases is a fault of the
// zone, more records are more than anybody needs.
const (
	maxAliases = 8
	maxRecords = 64
)

// The longest that we believe an answer. A "no" is believed for as long as its
// SOA record tells, and for this question only if there is none (RFC 2308).
const (
	maxTTL      = 24 * time.Hour
	maxNegative = 5 * time.Minute // RES-04
)

// A Resolver asks one question of the DNS. [DNS] asks servers over the
// network, [Static] a zone in memory.
type Resolver interface {
	// Lookup returns the records of one type that name has, aliases followed.
	// A name or type that does not exist is an answer; an error says that
	// there is none now, and its kind is Timeout.
	Lookup(ctx context.Context, name string, qtype uint16) (Answer, error)
}

// An Answer is what the DNS says to one question.
type Answer struct {
	Records       []Record      // in the order of the message
	Exists        bool          // false: the name has no records of any type (NXDOMAIN)
	TTL           time.Duration // how long the answer holds; zero: for this question only
	Authenticated bool          // validated with DNSSEC by a resolver on this machine
}

// A Record is one record of the types that we ask for. What a type does not
// have is empty.
type Record struct {
	Addr     netip.Addr // A, AAAA
	Priority uint16     // SRV; order of NAPTR
	Weight   uint16     // SRV; preference of NAPTR
	Port     uint16     // SRV
	Target   string     // SRV; replacement of NAPTR. Lower case, no final dot; "" is the root
	Service  string     // NAPTR
	Flags    string     // NAPTR
	Regexp   string     // NAPTR
}

// read takes the answer to q out of a message. Records that the question and
// its aliases do not lead to are left where they are: a server that puts them
// in may be lying (RFC 5452).
func read(msg *dns.Msg, q dns.Question) (Answer, error) {
	switch msg.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
	default:
		return Answer{}, fault.E(fault.Timeout, "DNS server answered %s", dns.RcodeToString[msg.Rcode])
	}
	name, ttl, err := follow(msg.Answer, dns.CanonicalName(q.Name), maxTTL)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Exists: true}
	for _, rr := range msg.Answer {
		h := rr.Header()
		if h.Rrtype != q.Qtype || h.Class != dns.ClassINET || dns.CanonicalName(h.Name) != name {
			continue
		}
		if r, ok := record(rr); ok && len(a.Records) < maxRecords {
			a.Records = append(a.Records, r)
			ttl = min(ttl, time.Duration(h.Ttl)*time.Second)
		}
	}
	a.TTL = ttl
	if len(a.Records) == 0 {
		a.Exists = msg.Rcode != dns.RcodeNameError
		a.TTL = min(ttl, negative(msg.Ns))
	}
	return a, nil
}

// follow goes along the aliases of a message and returns the name at their end
// and the smallest TTL on the way (RFC 1034).
func follow(answer []dns.RR, name string, ttl time.Duration) (string, time.Duration, error) {
	for range maxAliases {
		next := ""
		for _, rr := range answer {
			if c, ok := rr.(*dns.CNAME); ok && dns.CanonicalName(c.Hdr.Name) == name {
				next = dns.CanonicalName(c.Target)
				ttl = min(ttl, time.Duration(c.Hdr.Ttl)*time.Second)
				break
			}
		}
		if next == "" {
			return name, ttl, nil
		}
		name = next
	}
	return "", 0, fault.E(fault.Timeout, "aliases go round, or over more than %d names", maxAliases)
}

// negative returns how long a "no" holds (RFC 2308).
func negative(authority []dns.RR) time.Duration {
	for _, rr := range authority {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second, maxNegative)
		}
	}
	return 0
}

// record turns a record of the library into ours.
func record(rr dns.RR) (Record, bool) {
	switch rr := rr.(type) {
	case *dns.A:
		a, ok := netip.AddrFromSlice(rr.A.To4())
		return Record{Addr: a}, ok
	case *dns.AAAA:
		a, ok := netip.AddrFromSlice(rr.AAAA.To16())
		return Record{Addr: a.Unmap()}, ok
	case *dns.SRV:
		return Record{Priority: rr.Priority, Weight: rr.Weight, Port: rr.Port, Target: plain(rr.Target)}, true
	case *dns.NAPTR:
		return Record{Priority: rr.Order, Weight: rr.Preference, Flags: rr.Flags, Service: rr.Service,
			Regexp: rr.Regexp, Target: plain(rr.Replacement)}, true
	}
	return Record{}, false
}

// plain returns a name of the DNS as we write it elsewhere.
func plain(name string) string { return strings.TrimSuffix(dns.CanonicalName(name), ".") }
