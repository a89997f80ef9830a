// Package probe looks at a peer domain as the gateway would come to it, and
// says what is in the way: what the DNS offers (RFC 3263, section 4; RFC 6120,
// section 3.2), and for each target whether it is there, whether its
// certificate proves the domain (RFC 5922, section 7.3; RFC 6120, section
// 13.7), and what it offers (stream features; OPTIONS of RFC 3261, section 11).
//
// It goes through the same code as messages do, up to where we would prove who
// we are, and sends none. A certificate that does not prove the domain is
// looked at to its end; only then is it judged by the rules of the peer. All
// targets are asked at a time, each for a bounded while.
package probe

import (
	"cmp"
	"context"
	"crypto/x509"
	"net"
	"os"
	"sync"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
	"cpimgate/federation/locate"
	"cpimgate/federation/s2s"
	"cpimgate/federation/trunk"
	"cpimgate/federation/trust"
	"cpimgate/gateway/config"
)

// A Config says who looks, and how long. The zero value looks as a stranger
// without a certificate, who asks the system's DNS and wants TLS of everybody.
type Config struct {
	Settings *config.Config
	Version  string          // of us, in User-Agent
	Patience time.Duration   // for the DNS, and for each target; 8 s
	Resolver locate.Resolver // instead of the DNS that the settings name
	Roots    *x509.CertPool  // instead of the system's
	Now      func() time.Time
}

// A look is one run.
type look struct {
	Config
	domain string
	rules  federation.Rules
	judge  *trust.Store // wants of everybody a certificate that proves the domain
	s2s    *s2s.Server
	trunk  *trunk.Trunk
}

// Look asks about a domain. An error is one of the domain's spelling or of the
// settings; whatever is wrong with the domain itself stands in the report.
func Look(ctx context.Context, cfg Config, domain string) (*Report, error) {
	l := &look{Config: cfg}
	if l.Settings == nil {
		l.Settings = &config.Config{}
	}
	l.Patience = cmp.Or(l.Patience, 8*time.Second)
	if l.Now == nil {
		l.Now = time.Now
	}
	var err error
	if l.domain, err = federation.Domain(domain); err != nil {
		return nil, err
	}
	l.rules = l.Settings.Rules(l.domain)
	if l.Resolver == nil {
		if l.Resolver, err = locate.NewDNS(l.Settings.DNS.Resolvers); err != nil {
			return nil, err
		}
	}
	find := locate.New(locate.Config{Resolver: l.Resolver, Book: l.Settings, Now: l.Now})
	sockets, err := l.wires(find)
	if err != nil {
		return nil, err
	}
	dns, cancel := context.WithTimeout(ctx, l.Patience)
	defer cancel()
	speech, err := find.Speaks(dns, l.domain)
	r := l.report(speech)
	l.ask(ctx, sockets, r, speech)
	l.conclude(r, err)
	return r, nil
}

// wires makes both wires of the gateway, without listeners; and a socket for
// SIP over UDP, which the trunk closes.
func (l *look) wires(find *locate.Locator) (net.PacketConn, error) {
	c := trust.Config{Roots: l.Roots, Book: strict{l.Settings}, Now: l.Now}
	for _, pair := range l.Settings.TLS {
		c.Pairs = append(c.Pairs, trust.Pair{Cert: pair.Cert, Key: pair.Key})
	}
	var err error
	if l.judge, err = trust.New(c); err != nil {
		return nil, err
	}
	book := lenient{l.Settings}
	c.Book = book
	store, err := trust.New(c)
	if err != nil {
		return nil, err
	}
	pc, err := net.ListenPacket("udp", ":0")
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "no UDP socket")
	}
	name := l.Settings.Listen.Name
	if name == "" {
		name, _ = os.Hostname()
	}
	limits := federation.Limits{DialTimeout: l.Patience * 3 / 8, Handshake: l.Patience / 2}
	l.trunk = trunk.New(trunk.Config{
		Name: cmp.Or(name, "localhost"), Agent: "cpimgate/" + l.Version, Book: book, Locate: find, Trust: store,
		UDP: []net.PacketConn{pc}, Limits: limits,
	})
	l.s2s = s2s.New(s2s.Config{Book: book, Locate: find, Trust: store, Limits: limits})
	return pc, nil
}

// report begins a report with what the DNS says.
func (l *look) report(s locate.Speech) *Report {
	r := &Report{Domain: l.domain, Security: l.rules.Security.String(), DNS: append([]string{}, s.Why...)}
	if w, targets, err := s.Choose(federation.SIP); err == nil && len(targets) > 0 {
		r.FromSIP = string(w)
	}
	r.SIP, r.XMPP = l.wire(s, federation.SIP, s.SIPErr), l.wire(s, federation.XMPP, s.XMPPErr)
	return r
}

func (l *look) wire(s locate.Speech, w federation.Wire, err error) Wire {
	out := Wire{wire: w, Targets: []Target{}}
	if err != nil {
		out.Problem = fault.TextOf(err)
	}
	if fault.KindOf(err) == fault.Timeout {
		out.failed = err
	}
	for _, t := range targetsOf(s, w) {
		out.Targets = append(out.Targets, newTarget(t))
	}
	if out.Guessed = s.Bare && len(out.Targets) > 0; out.Guessed {
		out.Problem = ""
	}
	return out
}

// targetsOf returns where the gateway would go on a wire. Of a domain that has
// nothing but an address, guesses are all there is.
func targetsOf(s locate.Speech, w federation.Wire) []federation.Target {
	switch {
	case s.Bare:
		_, targets, _ := s.Choose(w) // it has an address
		return targets
	case w == federation.SIP:
		return s.SIP
	}
	return s.XMPP
}

// ask looks at all targets, and returns when all have been looked at.
func (l *look) ask(ctx context.Context, pc net.PacketConn, r *Report, s locate.Speech) {
	defer pc.Close()
	run, stop := context.WithCancel(ctx)
	var wires, targets sync.WaitGroup // both wait below
	wires.Go(func() { _ = l.trunk.Run(run) })
	<-l.trunk.Ready()
	each := func(w *Wire, one func(context.Context, federation.Target, *Target)) {
		for i, t := range targetsOf(s, w.wire) {
			targets.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, l.Patience)
				defer cancel()
				one(ctx, t, &w.Targets[i])
			})
		}
	}
	each(&r.SIP, l.lookSIP)
	each(&r.XMPP, l.lookXMPP)
	targets.Wait()
	stop()
	wires.Wait()
}

// from returns the domain of ours in whose name we ask, "" for none.
func (l *look) from(w federation.Wire) string {
	for _, h := range l.Settings.Homes() {
		switch {
		case w == federation.SIP && h.Domain != l.domain:
			return h.Domain
		case w == federation.XMPP && h.Users == federation.SIP && h.Domain != l.domain:
			return h.Domain
		case w == federation.XMPP && h.Users == federation.XMPP && l.Settings.Stands(w, h.Gateway):
			return h.Gateway
		}
	}
	return ""
}

// The books by which we look: one that wants TLS, if the operator does, but any
// certificate will do, and one that wants a good certificate of everybody.
type (
	lenient struct{ *config.Config }
	strict  struct{ *config.Config }
)

// Rules implements [federation.Book].
func (b lenient) Rules(domain string) federation.Rules {
	r := b.Config.Rules(domain)
	if r.Security == federation.Required {
		r.Security = federation.DialbackOK
	}
	return r
}

// Rules implements [federation.Book].
func (b strict) Rules(domain string) federation.Rules {
	r := b.Config.Rules(domain)
	r.Security = federation.Required
	return r
}
