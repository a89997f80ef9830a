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
// would overtake another. One goroutine hands all of a line to the Handler
// instead, and ends when none waits: its stack has grown with the first.
type line struct {
	waiting []*arrival    // for the Handler
	busy    bool          // the goroutine runs
	room    chan struct{} // closed when the reader, which waits, may go on
	open    int           // without final answer
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
	ours   bool    // the transaction is ours, not sipgo's
	line   *line
	excess bool          // more are open in its line than may be
	known  chan struct{} // closed when tx is set, or never will be
	over   chan struct{} // closed when the request is over

	mu      sync.Mutex
	tx      *sip.ServerTx
	peer    federation.Peer
	final   bool
	copies  uint64 // what a repeated message shares with it; 0: a repetition is not known
	nudged  bool   // told that the answer takes time
	settled bool   // known is closed
	timer   *time.Timer
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
	prepare(req, source)
	if req.IsAck() || req.IsCancel() {
		t.estrange(req, s, source)
		return // for a transaction that has its place already
	}
	if key, err := sip.ServerTxKeyMake(req); err == nil { // else sipgo answers 400
		t.enqueue(&arrival{t: t, key: key, req: req, source: source, stream: s})
	}
}

// prepare adds to a request what the reader knows.
func prepare(req *sip.Request, source string) {
	sipx.Expand(req)
	mark(req, source)
}

// enqueue gives a request its place, unless it is a retransmission, which
// sipgo will recognise by the same key.
func (t *Trunk) enqueue(a *arrival) {
	a.id, a.known, a.over = sipx.NewTag(), make(chan struct{}), make(chan struct{})
	if a.ours {
		a.settle()
	}
	name := a.lineName()
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
	a.line = l
	l.waiting = append(l.waiting, a)
	l.open++
	t.unanswered++
	a.excess = l.open > t.cfg.Limits.Queue
	t.arrivals[a.key] = a
	if !l.busy {
		l.busy = t.employ(func() { t.work(l) })
	}
	var room chan struct{}
	if len(l.waiting) > maxTurns && a.stream != nil {
		room = make(chan struct{})
		l.room = room
	}
	a.mu.Lock()
	a.timer = time.AfterFunc(trying, a.late)
	a.mu.Unlock()
	t.mu.Unlock()
	if room != nil {
		select {
		case <-room:
		case <-a.stream.closed:
		}
	}
}

// lineName is the connection, or on UDP the source, of a request.
func (a *arrival) lineName() string {
	if a.stream != nil {
		return a.stream.addr.String()
	}
	return a.source
}

// work hands the requests of a line to the Handler, one after the other.
func (t *Trunk) work(l *line) {
	for {
		t.mu.Lock()
		if len(l.waiting) == 0 {
			l.waiting, l.busy = nil, false
			t.mu.Unlock()
			return
		}
		a := l.waiting[0]
		l.waiting = l.waiting[1:]
		if l.room != nil && len(l.waiting) <= maxTurns {
			close(l.room)
			l.room = nil
		}
		t.mu.Unlock()
		<-a.known
		t.handle(a)
		t.mu.Lock()
		t.tidy(a)
		t.mu.Unlock()
	}
}

// tidy drops a line that nobody stands in. The caller holds t.mu.
func (t *Trunk) tidy(a *arrival) {
	if a.line.open == 0 && len(a.line.waiting) == 0 && t.lines[a.lineName()] == a.line {
		delete(t.lines, a.lineName())
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
