package trunk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
	"cpimgate/federation/locate"
)

// maxDatagram is the largest request that goes over UDP (RFC 3261, section
// 18.1.1).
const maxDatagram = 1300

// A Sending says what a request may cost.
type Sending struct {
	By time.Time // when the answer is no longer waited for; zero is Config.Timeout from now
	// Address changes addresses of the request before it goes out; it may ask the
	// DNS. May be nil.
	Address func(ctx context.Context, req *sip.Request)

	Check func(size int) error // is told the size of the request as it is written; its error ends the sending; may be nil
}

// Send sends a request to a domain and calls done once, on another goroutine,
// with the final response or a fault: NoRoute, Timeout, Forbidden where TLS or
// a certificate is refused, Busy over the limit of the domain's queue. It does
// not block. The request is the trunk's from now on.
//
// What is missing is added: Via, Max-Forwards, CSeq, Call-ID and a From tag.
// The Request-URI's port and transport count if its host is the domain.
//
// Redirections within the domain are followed, and challenges answered
// ([Config.Credentials]); each takes the next CSeq, which the response shows.
func (t *Trunk) Send(req *sip.Request, domain string, o Sending, done func(*sip.Response, error)) {
	if o.By.IsZero() {
		o.By = time.Now().Add(t.cfg.Timeout)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	name, err := federation.Domain(domain)
	switch {
	case err != nil:
	case t.queued[name] >= t.cfg.Limits.Queue:
		err = fault.E(fault.Busy, "too many requests to this domain")
	case t.employ(func() { t.exchange(req, name, o, done) }):
		t.queued[name]++
		return
	default:
		err = fault.E(fault.Busy, "shutting down")
	}
	go t.report(done, nil, err) // nobody waits: it runs the caller's own function
}

// exchange is the life of a request that we send. Run waits for it.
func (t *Trunk) exchange(req *sip.Request, domain string, o Sending, done func(*sip.Response, error)) {
	ctx, cancel := context.WithDeadline(t.ctx, o.By)
	defer cancel()
	if o.Address != nil {
		o.Address(ctx, req)
	}
	res, err := t.route(ctx, req, domain, o.Check)
	t.mu.Lock()
	if t.queued[domain]--; t.queued[domain] == 0 {
		delete(t.queued, domain)
	}
	t.calm()
	t.mu.Unlock()
	t.report(done, res, err)
}

// report calls back, whatever the callback does.
func (t *Trunk) report(done func(*sip.Response, error), res *sip.Response, err error) {
	defer func() {
		if r := recover(); r != nil {
			t.log.Error("panic", "err", fmt.Sprint(r))
		}
	}()
	done(res, err)
}

// route finds the way of a request, over redirections, to its final response.
func (t *Trunk) route(ctx context.Context, req *sip.Request, domain string, check func(int) error) (*sip.Response, error) {
	t.complete(req)
	t.guard(req, domain)
	var asked map[string]bool
	for {
		res, err := t.spread(ctx, &req, domain, check)
		if err != nil || res.StatusCode < 300 || res.StatusCode > 399 {
			return res, err
		}
		if asked == nil {
			asked = map[string]bool{canonical(req.Recipient): true}
		}
		next := redirected(req, res, domain, asked)
		if next == nil {
			return res, nil
		}
		t.log.Info("redirected", "peer", domain, "status", res.StatusCode)
		req = next
	}
}

// spread tries a domain's targets in order until one gives an answer that is
// not 503 (RFC 3263, section 4.3). Those that have asked us to wait are left
// out. The request becomes the one that was answered.
func (t *Trunk) spread(ctx context.Context, req **sip.Request, domain string, check func(int) error) (*sip.Response, error) {
	targets, err := t.cfg.Locate.SIP(ctx, query(*req, domain))
	if err != nil {
		return nil, err
	}
	if len(targets) == 0 {
		return nil, fault.E(fault.NoRoute, "no way to reach the domain")
	}
	if slices.ContainsFunc(targets, t.rests) {
		targets = slices.DeleteFunc(slices.Clone(targets), t.rests)
		err = fault.E(fault.Busy, "the peer's server asks us to wait")
	}
	var busy *sip.Response
	for i, target := range targets {
		share, cancel := shareOf(ctx, len(targets)-i)
		res, aerr := t.ask(share, req, target, check)
		cancel()
		switch {
		case aerr == nil && res.StatusCode != sip.StatusServiceUnavailable:
			return res, nil
		case aerr == nil:
			t.rest(target, res)
			busy = res
		default:
			if u, ok := errors.AsType[unfit](aerr); ok {
				return nil, u.error
			}
			err = aerr
			t.log.Info("target failed", "peer", domain, "target", target.String(), "err", aerr)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if busy != nil {
		return busy, nil
	}
	return nil, err
}

// ask sends a request to one target and answers what it is asked for: each
// realm once (RFC 3261, section 22.2).
func (t *Trunk) ask(ctx context.Context, req **sip.Request, to federation.Target, check func(int) error) (*sip.Response, error) {
	out := t.signed(*req, to.Domain)
	var answered map[string]bool
	for {
		res, err := t.try(ctx, out, to, check)
		if err != nil {
			return nil, err
		}
		if err := sipx.CheckResponse(res); err != nil {
			return nil, fault.Wrap(fault.Timeout, err, "no usable answer from the peer's server")
		}
		*req = out
		if _, challenged := answers[res.StatusCode]; !challenged {
			return res, nil
		}
		if answered == nil {
			answered = make(map[string]bool)
		}
		next, ok := t.authorize(out, res, to.Domain, answered)
		if !ok {
			t.logins.Remove(to.Domain) // a wrong password is not sent unasked
			return res, nil
		}
		out = next
	}
}

// unfit is the error of a request that cannot be written, or of
// [Sending.Check]: another target changes nothing.
type unfit struct{ error }

// shareOf divides the time that is left among the targets that are left.
func shareOf(ctx context.Context, targets int) (context.Context, context.CancelFunc) {
	if targets == 1 {
		return ctx, func() {}
	}
	deadline, _ := ctx.Deadline() // set by exchange
	return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(targets))
}

// query asks for the Request-URI if it is the domain's, else for the domain.
func query(req *sip.Request, domain string) locate.SIPQuery {
	u := &req.Recipient
	q := locate.SIPQuery{Host: domain, Secure: u.Scheme == "sips"}
	if hostName(u.Host) == domain && (u.Scheme == "sip" || u.Scheme == "sips") {
		q.Port = u.Port
		q.Transport, _ = u.UriParams.Get("transport")
	}
	return q
}

// complete adds what every request must have (RFC 3261, section 8.1.1).
func (t *Trunk) complete(req *sip.Request) {
	req.Recipient = sipx.Resolve(req.Recipient)
	if from := req.From(); from != nil && !from.Params.Has("tag") {
		from.Params.Add("tag", sipx.NewTag())
	}
	if req.ContentLength() == nil { // RFC 3261, section 18.3
		req.SetBody(req.Body())
	}
	if req.CallID() == nil {
		id := sip.CallIDHeader(sipx.NewCallID())
		req.AppendHeader(&id)
	}
	if req.CSeq() == nil {
		req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: req.Method})
	}
	if req.MaxForwards() == nil {
		hops := sip.MaxForwardsHeader(70)
		req.AppendHeader(&hops)
	}
	if !sipx.Has(req, "Max-Breadth") { // RFC 5393, section 5.3.4
		req.AppendHeader(sip.NewHeader("Max-Breadth", "60"))
	}
	if t.cfg.Agent != "" && !sipx.Has(req, "User-Agent") {
		req.AppendHeader(sip.NewHeader("User-Agent", t.cfg.Agent))
	}
}

// try sends a request to one target.
func (t *Trunk) try(ctx context.Context, req *sip.Request, to federation.Target, check func(int) error) (*sip.Response, error) {
	if to.Transport != federation.UDP {
		return t.tryStream(ctx, req, to, check)
	}
	p := t.socketFor(to.Addr.Addr())
	out, text, err := t.write(req, federation.UDP, check)
	if err != nil {
		return nil, err
	}
	if p == nil || len(text) > maxDatagram {
		over := to
		over.Transport = federation.TCP
		res, err := t.tryStream(ctx, req, over, check)
		if err == nil || p == nil || fault.KindOf(err) != fault.Timeout || ctx.Err() != nil {
			return res, err
		}
		// No TCP there: the RFC lets us fall back to UDP.
	}
	laddr, _ := p.LocalAddr().(*net.UDPAddr)
	if laddr != nil {
		out.Laddr = sip.Addr{IP: laddr.IP, Port: laddr.Port}
	}
	out.SetDestination(to.Addr.String())
	return t.transact(ctx, out)
}

// tryStream sends over a connection to the target. If one that was in use
// before, but has been quiet since, breaks, the peer has probably closed it
// because it was idle, and a new one is tried. If one that is busy breaks, the
// peer may have taken the request, and it is not sent again.
func (t *Trunk) tryStream(ctx context.Context, req *sip.Request, to federation.Target, check func(int) error) (*sip.Response, error) {
	from := ""
	if h := req.From(); h != nil {
		from = hostName(h.Address.Host)
	}
	for first := true; ; first = false {
		out, text, err := t.write(req, to.Transport, check)
		if err != nil {
			return nil, err
		}
		s, used, err := t.connect(ctx, from, to)
		if err != nil {
			return nil, err
		}
		sent := time.Now()
		res, err := s.ask(ctx, out, text)
		if alert := s.refused.Load(); err != nil && alert != nil {
			return nil, handshakeFault(alert)
		}
		if err != nil && s.deaf(sent) {
			t.log.Info("connection closed: no answer", "peer", s.name())
			_ = s.Close()
		}
		if err == nil || !used || !first || !s.quiet(sent) || !errors.Is(err, sip.ErrTransactionTransport) {
			return res, err
		}
		_ = s.Close()
	}
}

// write returns a request as it goes over a transport, and its text, if both
// we and check let it go.
func (t *Trunk) write(req *sip.Request, via federation.Transport, check func(int) error) (*sip.Request, string, error) {
	out := t.stamp(req, via)
	text, err := sipx.Print(out)
	if err == nil && check != nil {
		err = check(len(text))
	}
	if err != nil {
		return nil, "", unfit{err}
	}
	return out, text, nil
}

// stamp returns a request with our Via for one attempt (RFC 3261, section
// 18.1.1). It shares its other header fields with req. TLS connections may be
// used by the peer too (RFC 5923, section 8.1).
func (t *Trunk) stamp(req *sip.Request, via federation.Transport) *sip.Request {
	out := *req
	network := networkOf(via)
	hop := &sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: network, Host: t.cfg.Name, Port: t.ports[via]}
	branch := sip.HeaderKV{K: "branch", V: branchOf(req)}
	switch via {
	case federation.UDP:
		hop.Params = sip.HeaderParams{branch, {K: "rport"}}
	case federation.TLS:
		hop.Params = sip.HeaderParams{branch, {K: "alias"}}
	default:
		hop.Params = sip.HeaderParams{branch}
	}
	out.PrependHeader(hop)
	out.SetTransport(network)
	return &out
}

// transact runs one client transaction over UDP (RFC 3261, section 17.1) and
// returns its final response.
func (t *Trunk) transact(ctx context.Context, out *sip.Request) (*sip.Response, error) {
	key, err := sip.ClientTxKeyMake(out)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "request without a transaction")
	}
	final := make(chan *sip.Response, 1)
	t.expect(key, final)
	defer t.expect(key, nil)
	tx, err := t.txl.Request(ctx, out)
	if err != nil {
		return nil, fault.Wrap(fault.Timeout, err, "the peer's server cannot be reached")
	}
	defer tx.Terminate() // late copies of the response are of no use
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
		case <-tx.Done():
			err = tx.Err()
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err == nil {
			continue
		}
		select {
		case res := <-final:
			return res, nil
		default:
			return nil, fault.Wrap(fault.Timeout, err, "no answer from the peer's server")
		}
	}
}

// expect says where the final response of a client transaction is to go; nil
// is the end of it.
func (t *Trunk) expect(key string, final chan *sip.Response) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if final == nil {
		delete(t.finals, key)
		return
	}
	t.finals[key] = final
}

// response notes a final response in the reader. sipgo hands it over in a
// goroutine, which the end of the connection, if it follows at once, overtakes.
func (t *Trunk) response(res *sip.Response) {
	key, err := sip.ClientTxKeyMake(res)
	if err != nil || res.IsProvisional() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case t.finals[key] <- res: // none waits: a nil channel
	default:
	}
}
