package trunk

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/federation"
)

// How many requests of one connection may wait for their turn before its
// reader waits too, and TCP tells the peer.
const maxTurns = 1000

// A line is what keeps the requests of one connection or UDP source in order.
// sipgo starts a goroutine for each, and about a third of pipelined requests
// would overtake another.
type line struct {
	last  *arrival
	turns int // not back from the Handler
	open  int // without final answer
}

// An arrival is a request between the reader and its final answer. Its place
// in the line is taken in the reader, so it is the order of the wire.
type arrival struct {
	t      *Trunk
	id     string
	key    string // of sipgo's server transaction
	merge  string // what a merged copy shares with it
	req    *sip.Request
	source string
	stream *stream // nil on UDP
	line   *line
	excess bool          // more are open in its line than may be
	prev   *arrival      // whose turn comes before
	turn   chan struct{} // closed when the Handler has returned
	over   chan struct{} // closed when the request is over

	mu     sync.Mutex
	tx     *sip.ServerTx
	peer   federation.Peer
	final  bool
	nudged bool // told that the answer takes time
	timer  *time.Timer
}

// arrive is sipgo's message hook. It runs in the reader of a connection,
// before the transaction layer sees the message.
func (t *Trunk) arrive(msg sip.Message) {
	var s *stream
	p := t.packetsAt(msg.Source())
	if p != nil {
		p.place(msg)
	} else {
		t.mu.Lock()
		s = t.streams[msg.Source()]
		t.mu.Unlock()
	}
	req, ok := msg.(*sip.Request)
	if !ok {
		if res, ok := msg.(*sip.Response); ok {
			t.response(res)
		}
		return
	}
	source := msg.Source()
	if s != nil {
		source = s.remote.String()
	}
	sipx.Expand(req)
	mark(req, source)
	if req.IsAck() || req.IsCancel() {
		t.estrange(req, s, source)
		return // for a transaction that has its place already
	}
	if key, err := sip.ServerTxKeyMake(req); err == nil { // else sipgo answers 400
		t.enqueue(&arrival{t: t, key: key, req: req, source: source, stream: s})
	}
}

// enqueue gives a request its place, unless it is a retransmission, which
// sipgo will recognise by the same key.
func (t *Trunk) enqueue(a *arrival) {
	a.id, a.turn, a.over = sipx.NewTag(), make(chan struct{}), make(chan struct{})
	name := a.source
	if a.stream != nil {
		name = a.stream.addr.String()
	}
	t.mu.Lock()
	if _, repeated := t.arrivals[a.key]; repeated {
		t.mu.Unlock()
		return
	}
	l := t.lines[name]
	if l == nil {
		l = new(line)
		t.lines[name] = l
	}
	prev := l.last
	a.line, a.prev, l.last = l, prev, a
	l.turns++
	l.open++
	t.unanswered++
	a.excess = l.open > t.cfg.Limits.Queue
	t.arrivals[a.key] = a
	full := l.turns > maxTurns && a.stream != nil
	a.mu.Lock()
	a.timer = time.AfterFunc(trying, a.late)
	a.mu.Unlock()
	t.mu.Unlock()
	if full {
		a.stream.await(prev.turn)
	}
}

// await waits for a turn, or for the end of the connection.
func (s *stream) await(turn <-chan struct{}) {
	var closed chan struct{} // of UDP: never
	if s != nil {
		closed = s.closed
	}
	select {
	case <-turn:
	case <-closed:
	}
}

// pass gives the turn to the next in line.
func (a *arrival) pass() {
	t := a.t
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-a.turn:
		return
	default:
	}
	close(a.turn)
	a.prev = nil // else the whole line stays in memory
	a.line.turns--
	t.tidy(a)
}

// tidy drops a line that nobody stands in. The caller holds t.mu.
func (t *Trunk) tidy(a *arrival) {
	if a.line.turns > 0 || a.line.open > 0 {
		return
	}
	name := a.source
	if a.stream != nil {
		name = a.stream.addr.String()
	}
	if t.lines[name] == a.line {
		delete(t.lines, name)
	}
}

// mark notes in the top Via where a request came from (RFC 3261, section
// 18.2.1; RFC 3581, section 4). sipgo would write the synthetic address.
func mark(req *sip.Request, source string) {
	via := req.Via()
	host, port, err := net.SplitHostPort(source)
	if via == nil || err != nil {
		return
	}
	via.Params.Remove("received")
	if via.Params.Has("rport") {
		via.Params.Add("rport", port)
		via.Params.Add("received", host)
	} else if !sameAddr(via.Host, host) {
		via.Params.Add("received", host)
	}
}

// sameAddr reports whether sent-by is the address of the source, however it is
// written; a name is none (RFC 5118, section 4.5).
func sameAddr(sentBy, source string) bool {
	a, err := netip.ParseAddr(strings.Trim(sentBy, "[]"))
	b, berr := netip.ParseAddr(source)
	return err == nil && berr == nil && a == b
}
