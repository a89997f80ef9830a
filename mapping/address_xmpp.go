package mapping

import (
	"strings"
	"unicode/utf8"

	"mellium.im/xmpp/jid"

	"cpimgate/cpim/fault"
)

// ParseXMPP reads an xmpp URI or IRI (RFC 5122), as it stands in a gone or
// redirect error. The account that "//" names, the query and the fragment say
// how to reach an address, not which one it is, and are dropped.
func ParseXMPP(iri string) (jid.JID, error) {
	scheme, rest, ok := strings.Cut(iri, ":")
	if !ok || !strings.EqualFold(scheme, "xmpp") || len(iri) > MaxURI || !utf8.ValidString(iri) {
		return jid.JID{}, fault.E(fault.Malformed, "address is no xmpp URI")
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	if path, ok := strings.CutPrefix(rest, "//"); ok {
		_, rest, _ = strings.Cut(path, "/")
	}
	rest, resource, full := strings.Cut(rest, "/")
	local, domain, user := strings.Cut(rest, "@")
	if !user {
		local, domain = "", local
	}
	parts := [...]*string{&local, &domain, &resource}
	for i, marks := range [...]string{nodeMarks, nodeMarks + "[]:", resMarks} {
		decoded, err := unpercent(ascii(*parts[i]), marks)
		if err != nil {
			return jid.JID{}, err
		}
		*parts[i] = decoded
	}
	if user && local == "" || full && resource == "" {
		return jid.JID{}, fault.E(fault.Malformed, "part of address is empty")
	}
	j, err := jid.New(local, domain, resource)
	if err != nil {
		return jid.JID{}, fault.Wrap(fault.Malformed, err, "address is no JID")
	}
	if back, err := jid.Parse(j.String()); err != nil || !back.Equal(j) {
		return jid.JID{}, fault.Wrap(fault.Malformed, err, "address is no JID")
	}
	if _, err := domainToSIP(j.Domainpart()); err != nil {
		return jid.JID{}, fault.Wrap(fault.Malformed, err, "domain of address is none")
	}
	return j, nil
}

// FormatXMPP returns the xmpp URI of an address. It undoes [ParseXMPP].
func FormatXMPP(j jid.JID) string {
	s := percent(j.Domainpart(), nodeMarks+"[]:")
	if l := j.Localpart(); l != "" {
		s = percent(l, nodeMarks) + "@" + s
	}
	if r := j.Resourcepart(); r != "" {
		s += "/" + percent(r, resMarks)
	}
	return "xmpp:" + s
}

// ascii encodes what an IRI may hold and a URI may not (RFC 3987, section 3.1).
func ascii(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] < utf8.RuneSelf {
			b.WriteByte(s[i])
		} else {
			b.WriteString(percent(s[i:i+1], ""))
		}
	}
	return b.String()
}
