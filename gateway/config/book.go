package config

import (
	"slices"
	"strings"
	"time"

	"cpimgate/federation"
)

var _ federation.Book = (*Config)(nil)

// Home implements [federation.Book].
func (c *Config) Home(domain string) (federation.Home, bool) {
	h, ok := c.book[domain]
	return h, ok
}

// Homes implements [federation.Book]. The order is that of the names.
func (c *Config) Homes() []federation.Home { return c.homes }

// Stands implements [federation.Book].
func (c *Config) Stands(w federation.Wire, domain string) bool {
	if h, ok := c.book[domain]; ok {
		return h.Users != w
	}
	return w == federation.XMPP && slices.ContainsFunc(c.homes, func(h federation.Home) bool {
		return h.Gateway != "" && h.Gateway == domain && !c.Attached(h.Domain, domain)
	})
}

// Numbers returns the domain whose people telephone numbers are, "" for none.
func (c *Config) Numbers() string { return c.numbers }

// Rules implements [federation.Book]. A home is allowed where its own entry does
// not say otherwise: "*" is about others.
func (c *Config) Rules(domain string) federation.Rules {
	p := c.Peer(domain)
	allow := *p.Allow
	if _, home := c.book[domain]; home {
		own := c.Peers[domain]
		allow = own == nil || own.Allow == nil || *own.Allow
	}
	return federation.Rules{Allow: allow, Security: *p.Security, SIP: p.SIP, XMPP: p.XMPP, CAFile: p.CAFile}
}

// Peer returns what holds for a peer domain: each key from the most specific
// entry that has it, else its default.
func (c *Config) Peer(domain string) Peer {
	if c.peers == nil { // not read from a file
		return c.inherited(domain)
	}
	if p, ok := c.peers[domain]; ok {
		return p
	}
	for rest, ok := domain, c.wild; ok; {
		if _, rest, ok = strings.Cut(rest, "."); ok {
			if p, found := c.peers["*."+rest]; found {
				return p
			}
		}
	}
	return c.peers["*"]
}

// inherit has each entry say all that holds where it is the most specific: what
// does not hold for one domain alone is not put together for each message.
func (c *Config) inherit() {
	c.peers = map[string]Peer{"*": c.inherited("*")}
	for name := range c.Peers {
		c.peers[name] = c.inherited(name)
		c.wild = c.wild || strings.HasPrefix(name, "*.")
	}
}

// inherited returns what holds for a domain, or all that are below "*.x".
func (c *Config) inherited(domain string) Peer {
	p := Peer{}
	p.inherit(c.Peers[domain])
	for rest := domain; ; {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok {
			break
		}
		p.inherit(c.Peers["*."+parent])
		rest = parent
	}
	p.inherit(c.Peers["*"])
	p.inherit(&unsaid)
	return p
}

// unsaid is what holds for a key that no entry has.
var unsaid = Peer{
	Allow: new(true), Security: new(federation.Required),
	PagerSize: new(1300), PagerType: new("normal"), BareJIDErrors: new("6xx"), Encrypted: new("refuse"),
	ErrorWindow: new(300 * time.Millisecond), XHTML: new(true), Reactions: new(true), SIPS: new(false),
}

// inherit fills the keys that p lacks from q.
func (p *Peer) inherit(q *Peer) {
	if q == nil {
		return
	}
	or(&p.Allow, q.Allow)
	or(&p.Security, q.Security)
	or(&p.PagerSize, q.PagerSize)
	or(&p.PagerType, q.PagerType)
	or(&p.BareJIDErrors, q.BareJIDErrors)
	or(&p.Encrypted, q.Encrypted)
	or(&p.ErrorWindow, q.ErrorWindow)
	or(&p.XHTML, q.XHTML)
	or(&p.Reactions, q.Reactions)
	or(&p.SIPS, q.SIPS)
	orText(&p.SIP, q.SIP)
	orText(&p.XMPP, q.XMPP)
	orText(&p.CAFile, q.CAFile)
	orText(&p.CredentialsFile, q.CredentialsFile)
}

func or[T any](p **T, q *T) {
	if *p == nil {
		*p = q
	}
}

func orText(p *string, q string) {
	if *p == "" {
		*p = q
	}
}
