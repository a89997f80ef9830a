package probe

import (
	"fmt"
	"slices"
	"strings"

	"cpimgate/cpim/fault"
)

// conclude finds what is to be fixed first. What keeps all messages out comes
// before what keeps out those of one wire, and that before what does not keep
// out any yet.
func (l *look) conclude(r *Report, err error) {
	r.Fix = l.first(r, err)
	r.Fine = r.Fix == ""
}

func (l *look) first(r *Report, err error) string {
	wires := []*Wire{&r.SIP, &r.XMPP}
	for _, w := range wires {
		w.Used = 1 + slices.IndexFunc(w.Targets, func(t Target) bool { return t.Works })
	}
	if !l.rules.Allow {
		return fmt.Sprintf("The configuration does not allow %s: set allow: true for it under peers.", l.domain)
	}
	if fix := l.nowhere(r, wires, err); fix != "" {
		return fix
	}
	for _, w := range wires {
		if len(w.Targets) > 0 && w.Used == 0 && !(w.Guessed && anyWorks(wires)) {
			return w.Targets[0].Fix
		}
	}
	for _, w := range wires {
		if w.failed != nil {
			return l.unanswered(r)
		}
		for _, t := range w.Targets {
			if t.Fix != "" && !w.Guessed {
				return t.Fix
			}
		}
	}
	return ""
}

func anyWorks(wires []*Wire) bool {
	return slices.ContainsFunc(wires, func(w *Wire) bool { return w.Used > 0 })
}

// nowhere returns why there is no target at all.
func (l *look) nowhere(r *Report, wires []*Wire, err error) string {
	if slices.ContainsFunc(wires, func(w *Wire) bool { return len(w.Targets) > 0 }) {
		if r.SIP.Guessed && r.XMPP.Guessed && !anyWorks(wires) {
			return fmt.Sprintf("No record says what %s speaks, and its address answers neither: it needs a record such as _xmpp-server._tcp.%[1]s or _sips._tcp.%[1]s.", l.domain)
		}
		return ""
	}
	if slices.ContainsFunc(wires, func(w *Wire) bool { return w.failed != nil }) {
		return l.unanswered(r)
	}
	if h, ours := l.Settings.Home(l.domain); ours {
		return fmt.Sprintf("%s is ours, and nothing says where its %s server is: name it under domains as server.", h.Domain, h.Users)
	}
	if fault.TextOf(err) == "domain does not exist" {
		return fmt.Sprintf("There is no domain %s in the DNS: is it spelled right?", l.domain)
	}
	for _, line := range r.DNS { // what the search has said about TLS
		if strings.Contains(line, "SIP without TLS only") {
			return fmt.Sprintf("%s offers SIP without TLS only: it needs a record _sips._tcp.%[1]s and a server behind it, unless its security under peers is plain-ok.", l.domain)
		}
	}
	return fmt.Sprintf("%s offers neither SIP nor XMPP: it needs a record such as _xmpp-server._tcp.%[1]s or _sips._tcp.%[1]s whose target has an address.", l.domain)
}

func (l *look) unanswered(r *Report) string {
	for _, line := range r.DNS {
		if _, what, ok := strings.Cut(line, ": "); ok && strings.Contains(what, "has no answer") {
			return fmt.Sprintf("The DNS does not answer for %s (%s): are its name servers and our resolver up?", l.domain, what)
		}
	}
	return fmt.Sprintf("The DNS does not answer for %s: are its name servers and our resolver up?", l.domain)
}
