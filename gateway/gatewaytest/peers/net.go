package peers

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A Net is one small internet: addresses, a zone, an authority. Its programs
// end with the test it was made for.
type Net struct {
	Dir string // for the peers' files; goes with the test
	CA  *CA    // everybody trusts it

	t          testing.TB
	prefix     string // "127.7.3."
	zone       *zone
	resolvConf string
}

// nameServer is the last number of the address that serves the zone.
const nameServer = 53

// New returns a net with an empty zone and a fresh authority. Nets that exist
// at the same time, in this process or another, have different addresses: the
// first prefix whose name server's port is free is ours.
func New(t testing.TB) *Net {
	t.Helper()
	n := &Net{Dir: t.TempDir(), t: t}
	n.CA = NewCA(t, n.Dir, "ca")
	for i := 1; n.zone == nil; i++ {
		if i > 250 {
			t.Fatal("peers: no free net below 127.7.0.0/16, or no right to port 53")
		}
		n.prefix = fmt.Sprintf("127.7.%d.", i)
		n.zone = serveZone(n.Addr(nameServer))
	}
	t.Cleanup(func() {
		n.zone.close()
		if t.Failed() {
			t.Logf("--- questions to the zone\n%s", tail(n.zone.asked.String(), 2000))
		}
	})
	n.resolvConf = n.write("resolv.conf", fmt.Sprintf("nameserver %s\noptions timeout:5 attempts:3\n", n.Addr(nameServer)))
	return n
}

// Addr returns the net's address that ends in host.
func (n *Net) Addr(host int) netip.Addr { return netip.MustParseAddr(fmt.Sprint(n.prefix, host)) }

// DNS returns where the zone is served, as address and port.
func (n *Net) DNS() string { return netip.AddrPortFrom(n.Addr(nameServer), 53).String() }

// Text replaces the word "NET." by the net's prefix: "NET.10" is the address
// that ends in 10. Zones and configurations are written so.
func (n *Net) Text(s string) string { return strings.ReplaceAll(s, "NET.", n.prefix) }

// Zone replaces the records of the zone, in the text form of RFC 1035, with [Net.Text]'s addresses. Records have a TTL of one second unless they say
// otherwise (Kamailio 5.6.3 takes SRV records with a TTL of zero for outdated).
func (n *Net) Zone(text string) {
	n.t.Helper()
	if err := n.zone.set(n.Text(text)); err != nil {
		n.t.Fatalf("peers: zone: %v", err)
	}
}

// write makes a file of the net and returns its path.
func (n *Net) write(name, text string) string {
	path := filepath.Join(n.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
	return path
}
