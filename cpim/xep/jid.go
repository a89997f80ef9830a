package xep

import (
	"strings"

	"mellium.im/xmpp/jid"
)

// ParseJID reads an address (RFC 7622, section 3.1), "" as the zero JID. It is
// jid.Parse, but that it does not prepare what needs no preparation: nearly all
// addresses are plain, and preparing costs more than all else about a stanza's
// addresses.
func ParseJID(s string) (jid.JID, error) {
	if s == "" {
		return jid.JID{}, nil
	}
	bare, resource, slash := strings.Cut(s, "/")
	local, domain, at := strings.Cut(bare, "@")
	if !at {
		local, domain = "", bare
	}
	if at == (local == "") || slash == (resource == "") {
		return jid.Parse(s) // which says what is wrong
	}
	if j, ok := PlainJID(local, domain, resource); ok {
		return j, nil
	}
	return jid.Parse(s)
}

// PlainJID returns the address of three parts that preparation would leave as
// they are (RFC 7622, sections 3.2 to 3.4), and false for any other: letters
// in lower case, digits, hyphens and dots in a localpart and a domain, printable
// ASCII in a resource. Empty parts are none.
func PlainJID(local, domain, resource string) (jid.JID, bool) {
	if !IsPlain(local, domain, resource) {
		return jid.JID{}, false
	}
	return jid.NewUnsafe(local, domain, resource).JID, true
}

// IsPlain reports whether there is a [PlainJID].
func IsPlain(local, domain, resource string) bool {
	return len(local) <= 1023 && len(resource) <= 1023 && plainName(local) && plainDomain(domain) && printable(resource)
}

func plainName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

// plainDomain takes host names of letters, digits and hyphens without any that
// could be an A-label or an address.
func plainDomain(s string) bool {
	if s == "" || len(s) > 253 || strings.Contains(s, "--") || strings.IndexByte(s, '_') >= 0 || !plainName(s) {
		return false
	}
	top := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		top = label
	}
	return top[0] >= 'a' && top[len(top)-1] >= 'a' // no digit there: it is a name to SIP too (RFC 3261, section 25.1)
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
