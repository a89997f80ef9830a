package locate

import (
	"context"

	"cpimgate/cpim/fault"
)

// Static is a zone in memory (RFC 1035, section 5): a small real thing for
// tests and the demo, as [Resolver] and, by ServeDNS, as server for others.
type Static struct{}

// NewStatic reads a zone file. It may hold many domains; each has its own SOA
// record or lives under ".". Origin is the root.
func NewStatic(zone string) (*Static, error) { return &Static{}, nil }

// Set replaces the zone.
func (s *Static) Set(zone string) error { return nil }

// Break makes every question at or below name fail, as a domain whose servers
// are down does.
func (s *Static) Break(name string) {}

// Lookup implements [Resolver].
func (s *Static) Lookup(ctx context.Context, name string, qtype uint16) (Answer, error) {
	return Answer{}, fault.E(fault.Internal, "not built")
}
