package trunk

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
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
	res = a.dress(res)
	a.mu.Lock()
	if a.final {
		a.mu.Unlock()
		return fault.E(fault.Internal, "request has its final answer")
	}
	a.final = !res.IsProvisional()
	tx, final, peer := a.tx, a.final, a.peer
	a.mu.Unlock()
	if final {
		defer a.finish()
	}
	err := tx.Respond(res)
	if err == nil || errors.Is(err, sip.ErrTransactionTerminated) && !final {
		return nil
	}
	if final && a.stream != nil && peer.Proof != federation.Claimed && a.reconnect(res, peer) {
		return nil
	}
	return fault.Wrap(fault.Timeout, err, "the sender's connection is gone")
}

// dress makes a response fit for the wire.
func (a *arrival) dress(res *sip.Response) *sip.Response {
	if a.req.Method != sip.INVITE && res.StatusCode == sip.StatusRequestTimeout {
		a.log(slog.LevelWarn, "408 to a non-INVITE", "status", 504) // RFC 4320, section 4.2: MUST NOT
		res.StatusCode, res.Reason = sip.StatusGatewayTimeout, "Server Time-out"
	}
	if a.t.cfg.Agent != "" && len(res.GetHeaders("Server")) == 0 {
		res.AppendHeader(sip.NewHeader("Server", a.t.cfg.Agent))
	}
	if err := sipx.CheckOutgoing(res); err != nil {
		a.log(slog.LevelError, "answer cannot be written", "err", err)
		return Reply(a.req, sip.StatusInternalServerError, "internal error")
	}
	return res
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

// depart follows the end of sipgo's transaction: of UDP 32 s after the answer,
// so that a repeated request gets the same one (RFC 3261, section 17.2.2).
func (a *arrival) depart() {
	a.finish()
	a.pass()
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
	tx, final, first := a.tx, a.final, !a.gone
	a.gone = true
	if first && !final {
		a.timer.Reset(max(a.t.cfg.Answer-trying, time.Second))
	}
	a.mu.Unlock()
	switch {
	case final:
	case tx == nil && !first: // sipgo has lost it
		a.depart()
	case tx == nil:
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
		if !a.final && a.tx != nil {
			list = append(list, a)
		}
		a.mu.Unlock()
	}
	return list
}

// reconnect sends a final response whose connection is gone over a new one
// (RFC 3261, section 18.2.2): to the address of the request and the port of
// its Via. On TLS the other end must prove the same domain.
func (a *arrival) reconnect(res *sip.Response, peer federation.Peer) bool {
	via := res.Via()
	if via == nil || len(peer.Domains) == 0 {
		return false
	}
	port := via.Port
	if port == 0 {
		port = sip.DefaultPort(string(peer.Via))
	}
	target := federation.Target{
		Domain: peer.Domains[0], Host: peer.Addr.Addr().String(),
		Addr: netip.AddrPortFrom(peer.Addr.Addr(), uint16(port)), Transport: peer.Via,
	}
	t := a.t
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spawn(func() {
		ctx, cancel := context.WithTimeout(t.ctx, t.cfg.Limits.DialTimeout+t.cfg.Limits.Handshake)
		defer cancel()
		s, _, err := t.connect(ctx, hostName(a.req.Recipient.Host), target)
		if err == nil {
			_, err = s.Write([]byte(res.String()))
		}
		a.log(slog.LevelInfo, "answered over a new connection", "status", strconv.Itoa(res.StatusCode), "err", err)
	})
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

// hostName returns a domain in our spelling, "" if it is none.
func hostName(host string) string {
	d, err := federation.Domain(host)
	if err != nil || net.ParseIP(d) != nil {
		return ""
	}
	return d
}
