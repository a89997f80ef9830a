package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/federation"
	"cpimgate/federation/trunk"
	"cpimgate/gateway/step"
	"cpimgate/gateway/talk"
	"cpimgate/mapping"
)

// do does one effect of a machine. It runs on the machine's shard.
func (g *Gateway) do(key step.Key, e step.Effect) {
	switch e := e.(type) {
	case step.SendSIP:
		g.sendSIP(key, e)
	case step.SendXMPP:
		g.sendXMPP(key, e)
	case step.Answer:
		g.answer(e)
	case step.End:
		g.end(e)
	case step.Ignore:
		g.admin.Ignored(e.Why)
	}
}

func (g *Gateway) sendSIP(key step.Key, e step.SendSIP) {
	if err := g.loops.check(time.Now(), federation.SIP, e.Words); err != nil {
		g.shards.Report(key, step.Response{Of: e.Ref, Err: err})
		return
	}
	limit := *g.settings.Peer(e.Domain).PagerSize
	o := trunk.Sending{By: e.By, Check: func(size int) error { return mapping.CheckSize(size, limit) }}
	if key.Kind != talk.KindBorder {
		o.Address = func(ctx context.Context, req *sip.Request) { g.inbox(ctx, req, e.Domain) }
	}
	g.flying.Add(1)
	g.trunk.Send(e.Request, e.Domain, o, func(res *sip.Response, err error) {
		g.shards.Report(key, step.Response{Of: e.Ref, SIP: res, Err: err})
		g.flying.Add(-1)
	})
}

// inbox names whom a message is for by an im URI where his domain publishes that
// it knows such (RFC 7247, section 6.5, step 7). The Request-URI is where it goes
// and stays (RFC 3428, section 5). A server that the operator names is not asked
// for in the DNS.
func (g *Gateway) inbox(ctx context.Context, req *sip.Request, domain string) {
	if home, _ := g.book.Home(domain); home.Server != "" || g.book.Rules(domain).SIP != "" || !g.locate.Publishes(ctx, "im", domain) {
		return
	}
	if im, ok := mapping.InboxOf(req.To().Address); ok {
		req.To().Address = im
	}
}

func (g *Gateway) sendXMPP(key step.Key, e step.SendXMPP) {
	if e.Ref == "" {
		g.send(e.Stanza)
		return
	}
	if err := g.loops.check(time.Now(), federation.XMPP, e.Words); err != nil {
		g.shards.Report(key, step.Taken{Of: e.Ref, How: federation.GivenUp, Err: err})
		return
	}
	g.flying.Add(1)
	g.carrier(e.Stanza).Send(e.Stanza, e.By, func(how federation.How, err error) {
		g.shards.Report(key, step.Taken{Of: e.Ref, How: how, Err: err})
		g.flying.Add(-1)
	})
}

// answer gives a request its final answer.
func (g *Gateway) answer(e step.Answer) {
	p, ok := g.pending.take(e.Tx)
	if !ok {
		g.log.Error("an answer to no request", "tx", e.Tx)
		return
	}
	if err := p.tx.Answer(g.response(p.req, e.Status, e.Reason, e.Header)); err != nil {
		g.log.Info("answer was lost", "wire", federation.SIP, "peer", p.req.From().Address.Host, "err", err)
	}
}

// end writes the one line in the log about a message.
func (g *Gateway) end(e step.End) {
	g.admin.Ended(string(e.Way), string(e.Outcome))
	h := g.log.Handler()
	if !h.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	line := slog.NewRecord(time.Now(), slog.LevelInfo, "message", 0) // whose place in the code nobody asks for
	line.AddAttrs(
		slog.String("way", string(e.Way)), slog.String("from", e.From), slog.String("to", e.To),
		slog.String("call_id", e.SIP), slog.String("stanza_id", e.XMPP),
		slog.String("peer", e.Peer), slog.String("outcome", string(e.Outcome)), slog.String("reason", e.Reason))
	_ = h.Handle(context.Background(), line) // as a Logger does
}

// A pending holds the SIP requests that have no final answer.
type pending struct {
	mu sync.Mutex
	m  map[step.Tx]waits
}

type waits struct {
	tx  trunk.Tx
	req *sip.Request
}

func (p *pending) add(tx trunk.Tx, req *sip.Request) step.Tx {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := step.Tx(tx.ID())
	p.m[name] = waits{tx, req}
	return name
}

func (p *pending) take(name step.Tx) (waits, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, ok := p.m[name]
	delete(p.m, name)
	return w, ok
}
