package locate

import (
	"context"
	"time"

	"cpimgate/cpim/fault"
)

// DNS asks recursive servers, in turn: UDP with EDNS0, TCP when the answer is
// truncated (RFC 1035, RFC 6891, RFC 7766). Set its fields before first use.
type DNS struct {
	Servers  []string      // host:port
	Timeout  time.Duration // of one attempt; 2 s
	Attempts int           // rounds over all servers; 2
}

// NewDNS returns a resolver over servers ("192.0.2.53", "[2001:db8::1]:5353"),
// or over those of /etc/resolv.conf if there are none.
func NewDNS(servers []string) (*DNS, error) { return &DNS{Servers: servers}, nil }

// Lookup implements [Resolver].
func (d *DNS) Lookup(ctx context.Context, name string, qtype uint16) (Answer, error) {
	return Answer{}, fault.E(fault.Internal, "not built")
}
