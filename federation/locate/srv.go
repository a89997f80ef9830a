package locate

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"

	"cpimgate/federation"
)

// A way is how to come to a host once its address is known.
type way struct {
	transport federation.Transport
	port      uint16
}

// A service is a set of SRV records to look for, and what is spoken there. With
// more than one transport each record gives that many targets.
type service struct {
	name       string // "_sips._tcp.example.com"
	transports []federation.Transport
}

// A choice is one SRV record of one service.
type choice struct {
	Record
	from service
}

// services asks for the SRV records of some services of a domain, all at once,
// and returns their targets in one order of priorities and weights, as
// XEP-0368, section 3, wants it for XMPP.
func (l *Locator) services(ctx context.Context, domain string, list ...service) find {
	answers := make([]Answer, len(list))
	errs := make([]error, len(list))
	var wg sync.WaitGroup // waits below
	for i, s := range list {
		wg.Go(func() { answers[i], errs[i] = l.dns.Lookup(ctx, s.name, TypeSRV) })
	}
	wg.Wait()
	var f find
	var choices []choice
	for i, s := range list {
		switch rs := answers[i].Records; {
		case errs[i] != nil:
			f.failed = errors.Join(f.failed, errs[i])
			f.say("SRV %s has no answer: %v", s.name, errs[i])
		case len(rs) == 0:
			f.say("no SRV %s", s.name)
		case len(rs) == 1 && rs[0].Target == "":
			f.present = true
			f.say("SRV %s says that the service is not offered", s.name)
		default:
			f.present = true
			for _, r := range rs {
				choices = append(choices, choice{r, s})
			}
		}
	}
	choices = order(choices, l.cfg.Rand)
	for i := range choices {
		f.drawn = f.drawn || i > 0 && choices[i].Priority == choices[i-1].Priority
	}
	f.add(l.reach(ctx, domain, choices))
	return f
}

// each asks for several services at once, and returns their targets one
// service after the other.
func (l *Locator) each(ctx context.Context, domain string, list ...service) find {
	finds := make([]find, len(list))
	var wg sync.WaitGroup // waits below
	for i, s := range list {
		wg.Go(func() { finds[i] = l.services(ctx, domain, s) })
	}
	wg.Wait()
	var all find
	for _, f := range finds {
		all.add(f)
	}
	return all
}

// order sorts SRV records as RFC 2782 ("Usage rules") says: by priority, and
// within one priority drawn by weight. A record with the target "." beside
// others is no place to go to.
func order(choices []choice, random func(int) int) []choice {
	rest := slices.DeleteFunc(slices.Clone(choices), func(c choice) bool { return c.Target == "" })
	slices.SortStableFunc(rest, func(a, b choice) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(min(a.Weight, 1), min(b.Weight, 1)))
	})
	var out []choice
	for len(rest) > 0 {
		n, sum := 0, 0
		for n < len(rest) && rest[n].Priority == rest[0].Priority {
			sum += int(rest[n].Weight)
			n++
		}
		// Weight 0 stands first, so that it has its small chance.
		draw, pick := random(sum+1), 0
		for run := int(rest[0].Weight); run < draw; run += int(rest[pick].Weight) {
			pick++
		}
		out = append(out, rest[pick])
		rest = slices.Delete(rest, pick, pick+1)
	}
	return out
}

// reach resolves the hosts of SRV records, all at once, and returns a target
// for each address and transport. A host without an address is left out, the
// others serve.
func (l *Locator) reach(ctx context.Context, domain string, choices []choice) find {
	choices = choices[:min(len(choices), l.cfg.MaxTargets)]
	addrs := make([][]netip.Addr, len(choices))
	errs := make([]error, len(choices))
	var wg sync.WaitGroup // waits below
	for i, c := range choices {
		wg.Go(func() { addrs[i], errs[i] = l.addresses(ctx, c.Target) })
	}
	wg.Wait()
	var f find
	for i, c := range choices {
		f.say("SRV %s: %s port %d, priority %d, weight %d", c.from.name, c.Target, c.Port, c.Priority, c.Weight)
		switch {
		case errs[i] != nil && !errors.Is(errs[i], errAbsent):
			f.failed = errors.Join(f.failed, errs[i])
			f.say("%s has no answer: %v", c.Target, errs[i])
		case len(addrs[i]) == 0:
			f.say("%s has no address", c.Target)
		}
		for _, t := range c.from.transports {
			f.targets = append(f.targets, places(domain, c.Target, addrs[i], way{t, c.Port})...)
		}
	}
	return f
}

// places returns a target for each way and address.
func places(domain, host string, addrs []netip.Addr, ways ...way) []federation.Target {
	var targets []federation.Target
	for _, w := range ways {
		for _, a := range addrs {
			targets = append(targets, federation.Target{Domain: domain, Host: host, Addr: netip.AddrPortFrom(a, w.port), Transport: w.transport})
		}
	}
	return targets
}
