package gatewaytest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
	"cpimgate/federation/locate"
	"cpimgate/federation/trunk"
)

// Bounds of a registrar.
const (
	maxAccounts = 100
	maxContacts = 5 // of one user
	maxExpires  = time.Hour
)

// A registrar knows where the clients of a small SIP domain are (RFC 3261,
// section 10.3). It asks for no password and forgets all when it ends. Who has
// registered once is a user until then.
//
// It is a locator too: each contact has a name below that of the domain, under
// which the domain's trunk sends to it.
type registrar struct {
	domain string
	find   trunk.Locator // for all other domains

	mu    sync.Mutex
	users map[string][]binding
	next  int // of names
}

// A binding is one client of a user.
type binding struct {
	contact sip.Uri
	place   federation.Target
	until   time.Time
}

// register takes a REGISTER and returns its answer.
func (r *registrar) register(req *sip.Request, peer federation.Peer, now time.Time) *sip.Response {
	user := req.To().Address.User
	if user == "" || !strings.EqualFold(req.To().Address.Host, r.domain) || req.From().Address.User != user {
		return trunk.Reply(req, sip.StatusForbidden, "Not this user")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	bindings, known := r.live(user, now)
	if !known && len(r.users) >= maxAccounts {
		return trunk.Reply(req, sip.StatusServiceUnavailable, "Too many users")
	}
	contacts := req.GetHeaders("Contact")
	if len(contacts) == 0 { // a question
		return trunk.Reply(req, sip.StatusOK, "OK", fields(bindings, now)...)
	}
	for _, h := range contacts {
		c, ok := h.(*sip.ContactHeader)
		switch {
		case !ok:
			return trunk.Reply(req, sip.StatusBadRequest, "Bad Contact")
		case c.Address.Wildcard:
			bindings = nil
			continue
		}
		bindings = slices.DeleteFunc(bindings, func(b binding) bool { return b.contact.String() == c.Address.String() })
		if granted := expires(req, c); granted > 0 {
			bindings = append(bindings, binding{c.Address, r.place(c.Address, peer), now.Add(granted)})
		}
	}
	if len(bindings) > maxContacts {
		return trunk.Reply(req, sip.StatusServiceUnavailable, "Too many contacts")
	}
	r.users[user] = bindings
	return trunk.Reply(req, sip.StatusOK, "OK", fields(bindings, now)...)
}

// expires is how long a contact is kept (RFC 3261, section 10.2.1.1).
func expires(req *sip.Request, c *sip.ContactHeader) time.Duration {
	d, ok := sipx.Expires(req)
	if v, has := c.Params.Get("expires"); has {
		n, err := strconv.ParseUint(v, 10, 32)
		d, ok = time.Duration(n)*time.Second, err == nil
	}
	if !ok {
		return maxExpires
	}
	return min(d, maxExpires)
}

// place is where a client is reached, which is on this machine: over UDP where
// it sends from (RFC 3581, section 4), over TCP where its contact says that it
// listens.
func (r *registrar) place(contact sip.Uri, peer federation.Peer) federation.Target {
	r.next++
	t := federation.Target{Domain: fmt.Sprintf("c%d.clients.%s", r.next, r.domain), Host: contact.Host, Addr: peer.Addr, Transport: federation.UDP}
	if v, _ := contact.UriParams.Get("transport"); strings.EqualFold(v, "tcp") {
		t.Transport = federation.TCP
	}
	if t.Transport == federation.UDP && peer.Via == federation.UDP {
		return t
	}
	ip, port := peer.Addr.Addr(), contact.Port
	if named, err := netip.ParseAddr(contact.Host); err == nil && ours(named) {
		ip = named
	}
	if port == 0 {
		port = 5060
	}
	t.Addr = netip.AddrPortFrom(ip, uint16(port))
	return t
}

// fields are the bindings as the answer lists them (RFC 3261, section 10.3,
// step 8).
func fields(bindings []binding, now time.Time) []sip.Header {
	list := []sip.Header{sip.NewHeader("Date", sipx.FormatDate(now))}
	for _, b := range bindings {
		c := &sip.ContactHeader{Address: b.contact, Params: sip.NewParams()}
		c.Params.Add("expires", strconv.Itoa(int(b.until.Sub(now)/time.Second)))
		list = append(list, c)
	}
	return list
}

// live returns the bindings of a user that have not expired. r.mu is held.
func (r *registrar) live(user string, now time.Time) (list []binding, known bool) {
	for _, b := range r.users[user] {
		if now.Before(b.until) {
			list = append(list, b)
		}
	}
	_, known = r.users[user]
	return list, known
}

// lookup returns the clients of a user, and whether there is such a user.
func (r *registrar) lookup(user string, now time.Time) (list []binding, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live(user, now)
}

// SIP implements [trunk.Locator]. The domain itself is on this machine: its
// clients need no other proof.
func (r *registrar) SIP(ctx context.Context, q locate.SIPQuery) ([]federation.Target, error) {
	if q.Host == r.domain {
		return here(q.Host)
	}
	if !strings.HasSuffix(q.Host, ".clients."+r.domain) {
		return r.find.SIP(ctx, q)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, list := range r.users {
		for _, b := range list {
			if b.place.Domain == q.Host {
				return []federation.Target{b.place}, nil
			}
		}
	}
	return nil, fault.E(fault.NoRoute, "this client has gone")
}

// here returns all addresses of this machine: a client may use any of them to
// reach a listener on loopback.
func here(domain string) ([]federation.Target, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "no addresses")
	}
	var list []federation.Target
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			list = append(list, federation.Target{Domain: domain, Host: domain, Addr: netip.AddrPortFrom(p.Addr(), 5060), Transport: federation.UDP})
		}
	}
	return list, nil
}

// ours reports whether an address is of this machine.
func ours(ip netip.Addr) bool {
	list, _ := here("") // nothing, if we cannot know
	return ip.IsLoopback() || slices.ContainsFunc(list, func(t federation.Target) bool { return t.Addr.Addr() == ip })
}
