package policy

import (
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/federation"
	"cpimgate/mapping"
)

// Name returns the name by which a user is compared: the image of his address
// as a bare JID. One that has no image is compared as it is written.
func Name(u sip.Uri) string {
	phone := slices.ContainsFunc(u.UriParams, func(p sip.HeaderKV) bool { return strings.EqualFold(p.K, "user") })
	if u.Scheme == "sip" && !u.HierarhicalSlashes && !phone && u.User != "" && xep.IsPlain(u.User, u.Host, "") {
		return u.User + "@" + u.Host // what its image says
	}
	j, err := mapping.ToJID(u)
	if err != nil {
		return u.User + "@" + strings.ToLower(u.Host)
	}
	return j.Bare().String()
}

// A List is a block list. Nil blocks nobody.
type List struct {
	users   map[string]bool // by Name
	domains map[string]bool
	below   map[string]bool // domains of which all that are below are blocked
}

// NewList reads the entries of a block list: a domain such as "spam.example",
// all domains below one such as "*.bad.example", or a user such as
// "tybalt@spam.example", written as a JID or as a SIP address, whichever wire he
// uses; with sip: or xmpp: before it, it is read as that alone. The error names the first entry that is none of these.
func NewList(entries []string) (*List, error) {
	l := &List{users: map[string]bool{}, domains: map[string]bool{}, below: map[string]bool{}}
	for _, e := range entries {
		if err := l.add(e); err != nil {
			return nil, fault.Wrap(fault.Malformed, err, "block: %q is no domain, no *.domain and no address of a user", e)
		}
	}
	return l, nil
}

func (l *List) add(entry string) error {
	scheme, address, ok := strings.Cut(entry, ":")
	if !ok || scheme != "sip" && scheme != "xmpp" {
		scheme, address = "", entry
	}
	if !strings.Contains(address, "@") {
		parent, wild := strings.CutPrefix(address, "*.")
		domain, err := federation.Domain(parent)
		switch {
		case err != nil:
			return err
		case wild:
			l.below[domain] = true
		default:
			l.domains[domain] = true
		}
		return nil
	}
	var spellings []sip.Uri
	var last error
	if scheme != "xmpp" {
		u, err := mapping.ParseURI("sip:" + address)
		spellings, last = collect(spellings, last, u, err)
	}
	if scheme != "sip" {
		u, err := ofJID(scheme, address)
		spellings, last = collect(spellings, last, u, err)
	}
	if len(spellings) == 0 {
		return last
	}
	for _, u := range spellings {
		l.users[Name(u)] = true
	}
	return nil
}

// collect keeps an address if it is one of a user, else what is wrong with it.
func collect(list []sip.Uri, last error, u sip.Uri, err error) ([]sip.Uri, error) {
	if err == nil && u.User == "" {
		err = fault.E(fault.Malformed, "it names no user")
	}
	if err == nil {
		_, err = federation.Domain(u.Host)
	}
	if err != nil {
		return list, err
	}
	return append(list, u), last
}

// ofJID reads a JID, or what follows xmpp: in an address that is written as a URI.
func ofJID(scheme, address string) (sip.Uri, error) {
	j, err := jid.Parse(address)
	if scheme != "" {
		j, err = mapping.ParseXMPP(scheme + ":" + address)
	}
	if err != nil {
		return sip.Uri{}, fault.Wrap(fault.Malformed, err, "it is no JID")
	}
	return mapping.ToURI(j.Bare())
}

// Has reports whether a user is blocked, alone or with his domain.
func (l *List) Has(u sip.Uri) bool { return l.has(Name(u), u.Host) }

// has is Has for a user whose name is known.
func (l *List) has(name, host string) bool {
	if l == nil {
		return false
	}
	if l.users[name] {
		return true
	}
	domain, err := federation.Domain(host)
	if err != nil {
		return false
	}
	if l.domains[domain] {
		return true
	}
	for rest, more := domain, true; more; {
		if _, rest, more = strings.Cut(rest, "."); more && l.below[rest] {
			return true
		}
	}
	return false
}
