package gateway

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/federation/s2s"
	"cpimgate/gateway/config"
)

// components are the streams to XMPP servers of which a domain is a component
// (XEP-0114), as the settings in force want them.
type components struct {
	connect func(*attached) // makes the component of one

	ways atomic.Pointer[map[way]*attached] // the same as all

	mu   sync.Mutex
	ctx  context.Context // of Run; nil before
	over bool
	all  []*attached
	work sync.WaitGroup // one goroutine for each that was begun; Run waits for it
}

// A way leads from the domain of a component to a home and back.
type way struct{ domain, home string }

// An attached is one component.
type attached struct {
	config.Attachment
	*s2s.Component

	stop context.CancelFunc // nil before Run
	done chan struct{}      // closed when it has ended
}

// set has the components be those of a list. One that has changed ends before
// its successor begins, for a server takes one of a name.
func (c *components) set(list []config.Attachment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var now []*attached
	for _, a := range list {
		i := slices.IndexFunc(c.all, func(b *attached) bool { return b.Domain == a.Domain && b.Server == a.Server })
		if i >= 0 && same(c.all[i].Attachment, a) {
			now = append(now, c.all[i])
			continue
		}
		fresh := &attached{Attachment: a, done: make(chan struct{})}
		c.connect(fresh)
		now = append(now, fresh)
		if c.ctx == nil {
			continue
		}
		var former *attached
		if i >= 0 {
			former = c.all[i]
		}
		c.begin(fresh, former)
	}
	for _, former := range c.all {
		if !slices.Contains(now, former) && former.stop != nil {
			former.stop()
		}
	}
	c.all = now
	ways := map[way]*attached{}
	for _, a := range now {
		for _, home := range a.Homes {
			ways[way{a.Domain, home}] = a
		}
	}
	c.ways.Store(&ways)
}

func same(a, b config.Attachment) bool {
	return a.Secret == b.Secret && a.SecretFile == b.SecretFile && slices.Equal(a.Homes, b.Homes)
}

// begin runs a component when a former one has ended. c.mu is held.
func (c *components) begin(a, former *attached) {
	if c.over {
		close(a.done)
		return
	}
	ctx, stop := context.WithCancel(c.ctx)
	a.stop = stop
	c.work.Go(func() {
		defer close(a.done)
		if former != nil {
			<-former.done
		}
		_ = a.Run(ctx) // has no errors
	})
}

// Run keeps the components until ctx is done, and returns when all have ended.
func (c *components) Run(ctx context.Context) error {
	c.mu.Lock()
	c.ctx = ctx
	for _, a := range c.all {
		c.begin(a, nil)
	}
	c.mu.Unlock()
	<-ctx.Done()
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.work.Wait()
	return nil
}

// list returns the components as they are now.
func (c *components) list() []*attached {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.all)
}

// at returns the component of that name at a server, nil if there is none.
func (c *components) at(server, domain string) *s2s.Component {
	for _, a := range c.list() {
		if a.Domain == domain && a.Server == server {
			return a.Component
		}
	}
	return nil
}

// attach makes the component of an attachment, and its entrance.
func (g *Gateway) attach(a *attached, cfg Config, limits federation.Limits) {
	a.Component = s2s.NewComponent(s2s.ComponentConfig{
		Name: "cpimgate", Version: cfg.Version, Domain: a.Domain, Server: a.Server, Secret: a.Secret, SecretFile: a.SecretFile,
		Domains: a.Homes, Handler: xmppDoor{g, a}, Limits: limits, Trace: cfg.Trace, Log: cfg.Log, Contact: g.book.Contact, Dial: cfg.Net.Dial,
		Sibling: func(domain string) *s2s.Component { return g.components.at(a.Server, domain) },
	})
}

// A carrier takes stanzas, as a [s2s.Server] does.
type carrier interface {
	Send(e *xmltree.Element, by time.Time, done federation.Done)
}

// carrier returns what takes a stanza to its recipient: the component by which
// his home sees the sender's domain, or the streams between servers.
func (g *Gateway) carrier(e *xmltree.Element) carrier {
	ways := *g.components.ways.Load()
	if len(ways) == 0 {
		return g.s2s
	}
	domain, err1 := federation.DomainOf(e.Get("from"))
	home, err2 := federation.DomainOf(e.Get("to"))
	if a := ways[way{domain, home}]; a != nil && err1 == nil && err2 == nil {
		return a
	}
	return g.s2s
}
