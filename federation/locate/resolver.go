package locate

import (
	"context"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// The types of records that we ask for.
const (
	TypeA     = dns.TypeA
	TypeAAAA  = dns.TypeAAAA
	TypeSRV   = dns.TypeSRV
	TypeNAPTR = dns.TypeNAPTR
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
	Target   string     // SRV; replacement of NAPTR. Without final dot, "" is the root
	Service  string     // NAPTR
	Flags    string     // NAPTR
	Regexp   string     // NAPTR
}
