package gatewaytest

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
	"cpimgate/federation/trunk"
)

// How long a client may take to answer, and the border.
const (
	clientTime = 5 * time.Second
	borderTime = 20 * time.Second
)

// listenLoopback opens a door that needs no key: only this machine may come in.
func listenLoopback(address string) (net.Listener, error) {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !ap.Addr().IsLoopback() {
		return nil, fmt.Errorf("%s: passwords are not asked for, so this must be an address of loopback with a port", address)
	}
	return net.Listen("tcp", address)
}

// openTo lets clients in, over UDP and TCP at the same address.
func (d *SIPDomain) openTo(address string, cfg *trunk.Config) error {
	l, err := listenLoopback(address)
	if err != nil {
		return err
	}
	p, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		l.Close()
		return err
	}
	d.Clients = l.Addr().String()
	d.clients = &registrar{domain: d.Domain, find: cfg.Locate, users: map[string][]binding{}}
	cfg.UDP, cfg.TCP, cfg.Locate = []net.PacketConn{p}, []net.Listener{l}, d.clients
	cfg.Methods = []sip.RequestMethod{sip.MESSAGE, sip.REGISTER}
	return nil
}

// serveClients takes what the domain's own people send, and what is for one of
// their clients; false is anything else.
func (d *SIPDomain) serveClients(req *sip.Request, peer federation.Peer, tx trunk.Tx) (bool, error) {
	to := req.Recipient
	switch local := strings.EqualFold(to.Host, d.Domain); {
	case req.Method == sip.REGISTER:
		return true, tx.Answer(d.clients.register(req, peer, time.Now()))
	case !peer.SpeaksFor(req.From().Address.Host):
		return true, tx.Answer(trunk.Reply(req, sip.StatusForbidden, "Not this sender"))
	case !local && peer.SpeaksFor(d.Domain):
		d.forward(req, tx, []binding{{to, federation.Target{Domain: d.book.border}, time.Time{}}}, borderTime)
		return true, nil
	case !local:
		return true, tx.Answer(trunk.Reply(req, sip.StatusNotFound, "Not here"))
	}
	list, known := d.clients.lookup(to.User, time.Now())
	switch {
	case len(list) > 0:
		d.forward(req, tx, list, clientTime)
	case known && !exists(d.Users, to.User):
		return true, tx.Answer(trunk.Reply(req, sip.StatusTemporarilyUnavailable, "Not online"))
	default:
		return false, nil
	}
	return true, nil
}

// forward sends a request to all places and answers it with the best of their
// answers (RFC 3261, section 16.7): the first 2xx, or else the lowest.
func (d *SIPDomain) forward(req *sip.Request, tx trunk.Tx, places []binding, limit time.Duration) {
	var mu sync.Mutex
	var best *sip.Response
	left, by := len(places), time.Now().Add(limit)
	for _, b := range places {
		d.trunk.Send(onward(req, b.contact), b.place.Domain, trunk.Sending{By: by}, func(res *sip.Response, err error) {
			if err != nil {
				res = trunk.Reply(req, statusOf(err), fault.TextOf(err))
			}
			mu.Lock()
			defer mu.Unlock()
			first := best == nil || !best.IsSuccess()
			if best == nil || res.StatusCode < best.StatusCode {
				best = res
			}
			if left--; first && (best.IsSuccess() || left == 0) {
				_ = tx.Answer(trunk.Reply(req, best.StatusCode, best.Reason, carried(best)...)) // the client may have gone
			}
		})
	}
}

// onward is the request as it leaves us for uri. It comes from us: the way back
// is ours to know.
func onward(req *sip.Request, uri sip.Uri) *sip.Request {
	out := req.Clone()
	for _, name := range []string{"Via", "Route", "Record-Route", "Contact"} {
		for out.RemoveHeader(name) {
		}
	}
	if hops := out.MaxForwards(); hops != nil { // not 0: the trunk has seen to that
		left := sip.MaxForwardsHeader(hops.Val() - 1)
		out.ReplaceHeader(&left)
	}
	out.Recipient = uri
	return out
}

// statusOf is what a client hears of a request that got no answer (RFC 3261,
// section 16.7; RFC 3263, section 4.3).
func statusOf(err error) int {
	switch fault.KindOf(err) {
	case fault.NoRoute:
		return sip.StatusNotFound
	case fault.Timeout:
		return sip.StatusTemporarilyUnavailable
	case fault.Forbidden:
		return sip.StatusForbidden
	}
	return sip.StatusServiceUnavailable
}

// carried are the header fields of an answer that are not the transaction's.
func carried(res *sip.Response) []sip.Header {
	var fields []sip.Header
	for _, h := range res.Headers() {
		switch h.Name() {
		case "Via", "From", "To", "Call-ID", "CSeq", "Content-Length":
		default:
			fields = append(fields, h)
		}
	}
	return fields
}
