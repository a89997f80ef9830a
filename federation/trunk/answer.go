package trunk

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
	"cpimgate/federation/locate"
)

// trying is when a non-INVITE request without an answer gets a 100: the time
// until its sender's Timer E reaches T2 (RFC 4320, section 4.1).
const trying = 3500 * time.Millisecond

// ID implements [Tx].
func (a *arrival) ID() string { return a.id }

// Done implements [Tx].
func (a *arrival) Done() <-chan struct{} { return a.over }

// Answer implements [Tx].
func (a *arrival) Answer(res *sip.Response) error {
	res, text := a.dress(res)
	a.mu.Lock()
	if a.final {
		a.mu.Unlock()
		return fault.E(fault.Internal, "request has its final answer")
	}
	a.final = !res.IsProvisional()
	final, peer, copies := a.final, a.peer, a.copies
	a.mu.Unlock()
	a.t.took(copies, res)
	switch {
	case final && a.ours:
		defer a.depart()
	case final:
		defer a.finish()
	}
	err := a.respond(res, text)
	if err == nil || errors.Is(err, sip.ErrTransactionTerminated) && !final {
		return nil
	}
	if final && a.stream != nil && peer.Proof != federation.Claimed && a.reconnect(res, text, peer) {
		return nil
	}
	return fault.Wrap(fault.Timeout, err, "the sender's connection is gone")
}

// astray follows a final response that was to be written, and was not.
func (a *arrival) astray(res *sip.Response, text string, err error) {
	a.mu.Lock()
	peer := a.peer
	a.mu.Unlock()
	if peer.Proof == federation.Claimed || !a.reconnect(res, text, peer) {
		a.log(slog.LevelInfo, "answer was lost", "status", res.StatusCode, "err", err)
	}
}

// dress makes a response fit for the wire, and returns its text too.
func (a *arrival) dress(res *sip.Response) (*sip.Response, string) {
	if a.req.Method != sip.INVITE && res.StatusCode == sip.StatusRequestTimeout {
		a.log(slog.LevelWarn, "408 to a non-INVITE", "status", 504) // RFC 4320, section 4.2: MUST NOT
		res.StatusCode, res.Reason = sip.StatusGatewayTimeout, "Server Time-out"
	}
	if a.t.cfg.Agent != "" && len(res.GetHeaders("Server")) == 0 {
		res.AppendHeader(sip.NewHeader("Server", a.t.cfg.Agent))
	}
	a.mu.Lock()
	if to := maddr(a.req.Via()); to != "" && a.stream == nil && a.peer.Proof != federation.Claimed {
		res.SetDestination(to)
	}
	a.mu.Unlock()
	text, err := sipx.Print(res)
	if err != nil {
		a.log(slog.LevelError, "answer cannot be written", "err", err)
		res = Reply(a.req, sip.StatusInternalServerError, "internal error")
		text = res.String()
	}
	return res, text
}

// maddr returns where the Via of a request over UDP wants the response (RFC
// 3261, section 18.2.2), "" for where it came from.
func maddr(via *sip.ViaHeader) string {
	if via == nil {
		return ""
	}
	value, ok := via.Params.Get("maddr")
	if !ok {
		return ""
	}
	ip, err := netip.ParseAddr(strings.Trim(value, "[]"))
	if err != nil {
		return ""
	}
	port := via.Port
	if port == 0 {
		port = sip.DefaultUdpPort
	}
	return netip.AddrPortFrom(ip, uint16(port)).String()
}

// Reply returns a response to req whose reason phrase is safe.
func Reply(req *sip.Request, status int, reason string, fields ...sip.Header) *sip.Response {
	res := sip.NewResponseFromRequest(req, status, sipx.Reason(reason), nil)
	for _, f := range fields {
		res.AppendHeader(f)
	}
	return res
}

// refuse answers with a refusal, or 500 for any other error.
func (a *arrival) refuse(err error) {
	status, text, fields := sip.StatusInternalServerError, "internal error", []sip.Header(nil)
	if r, ok := errors.AsType[*sipx.Refusal](err); ok {
		status, text, fields = r.Status, fault.TextOf(r), r.Fields
	}
	event := Refused
	if u, ok := errors.AsType[*unproved](err); ok {
		event = u.event
	}
	a.t.cfg.Count(event)
	a.log(slog.LevelInfo, "refused", "status", status, "err", err)
	if err := a.Answer(Reply(a.req, status, text, fields...)); err != nil {
		a.log(slog.LevelDebug, "refusal not sent", "err", err)
	}
}

// finish is the end of a request, with or without an answer.
func (a *arrival) finish() {
	t := a.t
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-a.over:
		return
	default:
	}
	close(a.over)
	a.timer.Stop()
	a.line.open--
	t.unanswered--
	t.tidy(a)
	t.calm()
}

// cancelled follows a CANCEL, to which sipgo has answered 487 (RFC 3261, section
// 9.2).
func (a *arrival) cancelled() {
	a.mu.Lock()
	a.final = true
	a.mu.Unlock()
	a.finish()
}

// depart follows the end of sipgo's transaction: of UDP 32 s after the answer,
// so that a repeated request gets the same one (RFC 3261, section 17.2.2).
func (a *arrival) depart() {
	a.finish()
	a.settle()
	t := a.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.arrivals[a.key] == a {
		delete(t.arrivals, a.key)
	}
	if t.merged[a.merge] == a.key {
		delete(t.merged, a.merge)
	}
}

// late runs while there is no final answer: it says so once, and ends the
// request when the Handler has forgotten it.
func (a *arrival) late() {
	a.mu.Lock()
	found, final, first := a.ours || a.tx != nil, a.final, !a.nudged
	a.nudged = true
	if first && !final {
		a.timer.Reset(max(a.t.cfg.Answer-trying, time.Second))
	}
	a.mu.Unlock()
	switch {
	case final:
	case !found && !first: // sipgo has lost it
		a.depart()
	case !found:
	case first && a.req.Method != sip.INVITE:
		_ = a.Answer(Reply(a.req, sip.StatusTrying, "Trying"))
	case !first:
		a.log(slog.LevelError, "request was never answered", "status", 504)
		_ = a.Answer(Reply(a.req, sip.StatusGatewayTimeout, "Server Time-out"))
	}
}

// waiting returns the requests without a final answer.
func (t *Trunk) waiting() []*arrival {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*arrival
	for _, a := range t.arrivals {
		a.mu.Lock()
		if !a.final && (a.ours || a.tx != nil) {
			list = append(list, a)
		}
		a.mu.Unlock()
	}
	return list
}

// reconnect sends a final response whose connection is gone over a new one. On
// TLS the other end must prove the same domain.
func (a *arrival) reconnect(res *sip.Response, text string, peer federation.Peer) bool {
	t := a.t
	t.mu.Lock()
	defer t.mu.Unlock()
	return res.Via() != nil && len(peer.Domains) > 0 && t.spawn(func() {
		ctx, cancel := context.WithTimeout(t.ctx, t.cfg.Timeout)
		defer cancel()
		var s *stream
		err := fault.E(fault.NoRoute, "no way back")
		for to := range t.waysBack(ctx, res.Via(), peer) {
			if s, _, err = t.connect(ctx, hostName(a.req.Recipient.Host), to); err == nil {
				err = s.send(text, letter{})
				break
			}
		}
		a.log(slog.LevelInfo, "answered over a new connection", "status", strconv.Itoa(res.StatusCode), "err", err)
	})
}

// waysBack yields where a response may go: the address of the request with the
// port of its Via (RFC 3261, section 18.2.2), then what the host of the Via
// resolves to (RFC 3263, section 5). The transport stays.
func (t *Trunk) waysBack(ctx context.Context, via *sip.ViaHeader, peer federation.Peer) iter.Seq[federation.Target] {
	return func(yield func(federation.Target) bool) {
		port := via.Port
		if port == 0 {
			port = sip.DefaultPort(string(peer.Via))
		}
		ip := peer.Addr.Addr()
		first := federation.Target{
			Domain: peer.Domains[0], Host: ip.String(), Addr: netip.AddrPortFrom(ip, uint16(port)), Transport: peer.Via,
		}
		if !yield(first) {
			return
		}
		targets, err := t.cfg.Locate.SIP(ctx, locate.SIPQuery{
			Host: via.Host, Port: via.Port, Transport: string(peer.Via), Secure: peer.Via == federation.TLS,
		})
		if err != nil {
			return // a number, or a name that does not resolve
		}
		for _, to := range targets {
			to.Domain = peer.Domains[0]
			if to.Transport == peer.Via && !yield(to) {
				return
			}
		}
	}
}

// log writes a line about this request.
func (a *arrival) log(level slog.Level, msg string, args ...any) {
	if !a.t.log.Enabled(context.Background(), level) {
		return
	}
	from, to := "", ""
	if h := a.req.From(); h != nil {
		from = shorten(h.Address.String())
	}
	if h := a.req.To(); h != nil {
		to = shorten(h.Address.String())
	}
	args = append(args, "peer", a.peerName(), "from", from, "to", to, "method", shorten(string(a.req.Method)), "tx", a.id)
	a.t.log.Log(context.Background(), level, msg, args...)
}

func (a *arrival) peerName() string {
	if a.stream != nil {
		return a.stream.name()
	}
	return a.source
}

// hostName returns a domain in our spelling, "" if it is none; an address is
// none.
func hostName(host string) string {
	d, err := federation.Domain(host)
	if err != nil {
		return ""
	}
	return d
}
