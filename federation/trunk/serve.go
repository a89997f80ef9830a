package trunk

import (
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
)

// request is sipgo's request handler: a new server transaction, in a goroutine
// of its own.
func (t *Trunk) request(req *sip.Request, tx *sip.ServerTx) {
	switch {
	case req.IsAck(): // of a transaction that is over, or of no dialog
		tx.Terminate()
		return
	case req.IsCancel(): // sipgo has found no INVITE for it
		t.familiar(req)
		_ = tx.Respond(Reply(req, sip.StatusCallTransactionDoesNotExists, "No such transaction"))
		return
	}
	t.mu.Lock()
	a := t.arrivals[tx.Key()]
	t.mu.Unlock()
	if a == nil || a.req != req {
		tx.Terminate() // repeated just when the first copy was over
		return
	}
	a.begin(tx)
}

// begin binds an arrival to sipgo's transaction, unless that is over.
func (a *arrival) begin(tx *sip.ServerTx) {
	a.bind(tx)
	if !tx.OnTerminate(func(string, error) { a.depart() }) {
		a.bind(nil)
		a.depart()
		return
	}
	if !tx.OnCancel(func(*sip.Request) { a.cancelled() }) { // it has come already
		a.cancelled()
	}
	a.settle()
}

func (a *arrival) bind(tx *sip.ServerTx) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tx = tx
}

// found reports that there is a transaction to answer in.
func (a *arrival) found() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ours || a.tx != nil
}

// settle lets the line go on.
func (a *arrival) settle() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.settled {
		a.settled = true
		close(a.known)
	}
}

// handle serves one request in its turn.
func (t *Trunk) handle(a *arrival) {
	defer func() {
		if r := recover(); r != nil {
			a.log(slog.LevelError, "panic", "err", fmt.Sprint(r), "stack", string(debug.Stack()))
			a.refuse(fault.E(fault.Internal, "panic"))
		}
	}()
	if !a.found() {
		return // sipgo has lost it
	}
	if err := t.serve(a); err != nil {
		a.refuse(err)
	}
}

// serve decides about one request (RFC 3261, section 8.2).
func (t *Trunk) serve(a *arrival) error {
	req := a.req
	if err := sipx.CheckRequest(req); err != nil {
		return err
	}
	if err := t.overload(a); err != nil {
		return err
	}
	if req.Method == sip.OPTIONS {
		return t.options(a)
	}
	if err := t.loop(a); err != nil { // before we ask who sends it: it is our own
		return err
	}
	peer, err := t.identity(a)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.peer = peer
	a.mu.Unlock()
	req.Recipient = sipx.Resolve(req.Recipient)
	t.distrust(req, peer)
	t.alias(a)
	if repeated, err := t.again(a); repeated {
		return err
	}
	for _, check := range []func(*arrival) error{t.method, t.hops, t.once, t.extensions, t.content} {
		if err := check(a); err != nil {
			return err
		}
	}
	return t.cfg.Handler.ServeSIP(t.ctx, req, peer, a)
}

// overload refuses what is over our limits, and everything while we stop.
func (t *Trunk) overload(a *arrival) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.draining || a.excess {
		return sipx.Refuse(sip.StatusServiceUnavailable, fault.Busy, "Too many requests", sip.NewHeader("Retry-After", "30"))
	}
	return nil
}

// known are the methods of RFC 3261, 3262, 3265, 3311, 3428, 3515, 3903 and
// 6086 with the answer while no Handler takes them (decision D-85); others are
// answered 501 (RFC 3261, section 8.2.1).
var known = map[sip.RequestMethod]int{
	sip.INVITE:    sip.StatusNotAcceptableHere,
	sip.SUBSCRIBE: 489,                                    // Bad Event
	sip.NOTIFY:    sip.StatusCallTransactionDoesNotExists, // RFC 6665, section 4.1.3
	sip.BYE:       sip.StatusCallTransactionDoesNotExists,
	sip.PRACK:     sip.StatusCallTransactionDoesNotExists,
	sip.UPDATE:    sip.StatusCallTransactionDoesNotExists,
	sip.MESSAGE:   sip.StatusMethodNotAllowed,
	sip.PUBLISH:   sip.StatusMethodNotAllowed,
	sip.REGISTER:  sip.StatusMethodNotAllowed,
	sip.REFER:     sip.StatusMethodNotAllowed,
	sip.INFO:      sip.StatusMethodNotAllowed,
}

var phrases = map[int]string{
	sip.StatusNotAcceptableHere:            "Not Acceptable Here",
	489:                                    "Bad Event",
	sip.StatusCallTransactionDoesNotExists: "Call/Transaction Does Not Exist",
	sip.StatusMethodNotAllowed:             "Method Not Allowed",
	sip.StatusNotImplemented:               "Not Implemented",
}

// method refuses what the Handler does not take, and what belongs to a dialog
// that nobody knows (RFC 3261, section 12.2.2).
func (t *Trunk) method(a *arrival) error {
	if !slices.Contains(t.cfg.Methods, a.req.Method) {
		status, ok := known[a.req.Method]
		if !ok {
			status = sip.StatusNotImplemented
		}
		return sipx.Refuse(status, fault.Unsupported, phrases[status], t.allow())
	}
	ours, ok := a.req.To().Params.Get("tag")
	if !ok {
		return nil
	}
	theirs, _ := a.req.From().Params.Get("tag")
	if t.cfg.Dialog == nil || !t.cfg.Dialog(a.req.CallID().Value(), ours, theirs) {
		status := sip.StatusCallTransactionDoesNotExists
		return sipx.Refuse(status, fault.NotFound, phrases[status])
	}
	return nil
}

func (t *Trunk) allow() sip.Header {
	names := []string{"OPTIONS"}
	for _, m := range t.cfg.Methods {
		names = append(names, string(m))
	}
	return sip.NewHeader("Allow", strings.Join(names, ", "))
}

// hops refuses a request that has come too far (RFC 3261, section 16.3): for
// it we are one more hop.
func (t *Trunk) hops(a *arrival) error {
	if h := a.req.MaxForwards(); h != nil && h.Val() == 0 {
		return sipx.Refuse(sip.StatusTooManyHops, fault.Forbidden, "Too Many Hops")
	}
	return nil
}

// once refuses the copies of a request that has reached us on several paths
// (RFC 3261, section 8.2.2.2).
func (t *Trunk) once(a *arrival) error {
	if a.req.To().Params.Has("tag") {
		return nil
	}
	tag, _ := a.req.From().Params.Get("tag")
	id := tag + "\n" + a.req.CallID().Value() + "\n" + cseqText(a.req.CSeq())
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, merged := t.merged[id]; merged {
		return sipx.Refuse(sip.StatusLoopDetected, fault.Forbidden, "Merged Request")
	}
	a.merge, t.merged[id] = id, a.key
	return nil
}

// extensions refuses what we lack (RFC 3261, section 8.2.2.3).
func (t *Trunk) extensions(a *arrival) error {
	lacking := sipx.Tokens(a.req, "Require")
	if len(lacking) == 0 {
		return nil
	}
	var fields []sip.Header
	if h, err := sipx.Header("Unsupported", strings.Join(lacking, ", ")); err == nil {
		fields = append(fields, h)
	}
	return sipx.Refuse(sip.StatusBadExtension, fault.Unsupported, "Bad Extension", fields...)
}

// content refuses bodies that nobody here reads (RFC 3261, section 8.2.3).
func (t *Trunk) content(a *arrival) error {
	if len(a.req.Body()) == 0 {
		return nil
	}
	for _, coding := range sipx.Tokens(a.req, "Content-Encoding") {
		if !slices.Contains(codings, strings.ToLower(coding)) {
			return sipx.Refuse(sip.StatusUnsupportedMediaType, fault.Unsupported, "Unsupported Media Type", acceptEncoding())
		}
	}
	media, ok := sipx.MediaType(a.req)
	if !ok || !t.accepts(media) {
		return sipx.Refuse(sip.StatusUnsupportedMediaType, fault.Unsupported, "Unsupported Media Type", t.acceptable())
	}
	return nil
}

// codings are those that package mapping undoes: clients compress what they
// send unasked, disposition notifications for one.
var codings = []string{"identity", "deflate", "gzip"}

func acceptEncoding() sip.Header {
	return sip.NewHeader("Accept-Encoding", strings.Join(codings, ", "))
}

func (t *Trunk) accepts(media string) bool {
	for _, pattern := range t.cfg.Accept {
		prefix, any := strings.CutSuffix(pattern, "*")
		if pattern == media || any && strings.HasPrefix(media, prefix) {
			return true
		}
	}
	return len(t.cfg.Accept) == 0
}

func (t *Trunk) acceptable() sip.Header {
	if len(t.cfg.Accept) == 0 {
		return sip.NewHeader("Accept", "*/*")
	}
	return sip.NewHeader("Accept", strings.Join(t.cfg.Accept, ", "))
}

// options answers for the gateway itself, whoever asks: it says nothing about
// users (RFC 3261, section 11.2).
func (t *Trunk) options(a *arrival) error {
	if err := t.extensions(a); err != nil {
		return err
	}
	return a.Answer(Reply(a.req, sip.StatusOK, "OK", t.allow(), t.acceptable(),
		acceptEncoding(), sip.NewHeader("Accept-Language", "en"), sip.NewHeader("Supported", "")))
}

// addr returns where a request has come from.
func (a *arrival) addr() netip.AddrPort {
	if a.stream != nil {
		return a.stream.remote
	}
	ap, _ := netip.ParseAddrPort(a.source) // it is an address: sipgo has it from the socket
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// via returns how it has come.
func (a *arrival) via() federation.Transport {
	if a.stream != nil {
		return a.stream.via
	}
	return federation.UDP
}
