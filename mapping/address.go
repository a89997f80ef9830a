package mapping

import (
	"strings"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
)

// ToJID maps a sip, sips, im or pres URI to an XMPP address (RFC 7247, section
// 6.4). Scheme, password, port, headers and all parameters but "gr" are dropped.
//
// An address without an image is [fault.NotFound], the answer to a recipient; to
// say it of the sender, see [OfSender].
func ToJID(u sip.Uri) (jid.JID, error) {
	u, err := structured(u)
	if err != nil {
		return jid.JID{}, err
	}
	user, err := userOf(u)
	if err != nil {
		return jid.JID{}, err
	}
	domain, err := domainToXMPP(u.Host)
	if err != nil {
		return jid.JID{}, err
	}
	instance, err := instanceOf(u)
	if err != nil {
		return jid.JID{}, err
	}
	return compose(user, domain, instance)
}

// ToURI maps an XMPP address to a SIP URI (RFC 7247, section 6.5), a
// resourcepart to its "gr" parameter. It is the inverse of [ToJID].
func ToURI(j jid.JID) (sip.Uri, error) { return ToURIScheme(j, "sip") }

// ToURIScheme is [ToURI] for the schemes sip, sips, im and pres. The last two
// have no place for a resource, which is dropped, and none for a domain alone.
func ToURIScheme(j jid.JID, scheme string) (sip.Uri, error) {
	local, domain := j.Localpart(), j.Domainpart()
	host, err := domainToSIP(domain)
	if err != nil {
		return sip.Uri{}, err
	}
	u := sip.Uri{Scheme: scheme, Host: host}
	user := unescapeLocal(local)
	switch scheme {
	case "sip", "sips":
		u.User = sipUser(user)
		setInstance(&u, j)
	case "im", "pres":
		j = j.Bare()
		u.User = inbox(user)
		if user == "" {
			return u, fault.E(fault.NotFound, "a domain alone has no %s address", scheme)
		}
	default:
		return u, fault.E(fault.Unsupported, "unknown scheme")
	}
	if scheme != "im" && scheme != "pres" && xep.IsPlain(local, domain, j.Resourcepart()) {
		return u, nil // nothing was escaped that could come back as another's
	}
	// a\5cb and a\b would be one SIP user: only the one that a SIP user maps
	// to has an image (XEP-0106, section 4.1).
	if back, err := ToJID(u); err != nil || !back.Equal(j) {
		return u, fault.Wrap(fault.NotFound, err, "address has no SIP form")
	}
	return u, nil
}

// InboxOf returns the im URI of a SIP user, whose domain knows such addresses
// (RFC 7247, section 6.5, step 7): the same name, without device. False is for what
// has none, such as a domain alone.
func InboxOf(u sip.Uri) (sip.Uri, bool) {
	user, err := userOf(u)
	if err != nil || user == "" {
		return u, false
	}
	return sip.Uri{Scheme: "im", User: inbox(user), Host: u.Host}, true
}

// sipUser encodes the user of a SIP URI, which never starts with two slashes.
func sipUser(user string) string {
	s := percent(user, userMarks)
	if strings.HasPrefix(s, "//") {
		s = "%2F" + s[1:]
	}
	return s
}

func setInstance(u *sip.Uri, j jid.JID) {
	if r := j.Resourcepart(); r != "" {
		u.UriParams.Add("gr", percent(r, grMarks))
	}
}

// inbox encodes the local part of an im or pres URI: dots stay where dot-atom
// has them (RFC 5322, section 3.2.3).
func inbox(user string) string {
	s := percent(user, inboxMarks)
	for strings.Contains(s, "..") {
		s = strings.Replace(s, "..", ".%2E", 1)
	}
	if strings.HasPrefix(s, ".") {
		s = "%2E" + s[1:]
	}
	if rest, ok := strings.CutSuffix(s, "."); ok {
		s = rest + "%2E"
	}
	return s
}

// GatewayJID returns the address under which a SIP user appears at a gateway's
// own domain: user and domain together, escaped, are the localpart (XEP-0106,
// section 4.2), so romeo@sip.example is romeo\40sip.example@gateway. A domain of
// A-labels stays so: with letters from right to left beside others the name
// would break the Bidi Rule (RFC 8265, section 3.3).
func GatewayJID(u sip.Uri, gateway string) (jid.JID, error) {
	j, err := ToJID(u)
	if err != nil {
		return jid.JID{}, err
	}
	name, err := domainToSIP(j.Domainpart())
	if err != nil {
		return jid.JID{}, err
	}
	if j.Localpart() != "" {
		name = unescapeLocal(j.Localpart()) + "@" + name
	}
	return compose(name, gateway, j.Resourcepart())
}

// GatewayURI undoes [GatewayJID], whatever the gateway's domain.
func GatewayURI(j jid.JID) (sip.Uri, error) {
	name := unescapeLocal(j.Localpart())
	u := sip.Uri{Scheme: "sip", Host: name}
	if at := strings.LastIndexByte(name, '@'); at >= 0 {
		u.User, u.Host = sipUser(name[:at]), name[at+1:]
	}
	setInstance(&u, j)
	if back, err := GatewayJID(u, j.Domainpart()); err != nil || !back.Equal(j) {
		return u, fault.Wrap(fault.NotFound, err, "address names no SIP user")
	}
	return u, nil
}

// compose makes a JID of a user name that is not yet escaped. It refuses what
// would be no JID to the next reader, and what another name could lead to.
func compose(user, domain, resource string) (jid.JID, error) {
	if j, plain := xep.PlainJID(user, domain, resource); plain {
		return j, nil
	}
	j, err := jid.New(escapeLocal(user), domain, resource)
	if err != nil {
		return jid.JID{}, fault.Wrap(fault.NotFound, err, "address has no XMPP form")
	}
	local := j.Localpart()
	back, err := jid.Parse(j.String())
	switch {
	case err != nil || !back.Equal(j):
		return jid.JID{}, fault.Wrap(fault.NotFound, err, "address has no XMPP form")
	case strings.HasPrefix(local, `\20`) || strings.HasSuffix(local, `\20`): // XEP-0106, section 4.1
		return jid.JID{}, fault.E(fault.NotFound, "space at the edge of a name")
	case marks(unescapeLocal(local)) != marks(user):
		// Folding came upon an escape: %5C and a full-width 20 are no space.
		return jid.JID{}, fault.E(fault.NotFound, "address is ambiguous in XMPP")
	}
	return j, nil
}

// OfSender returns the error of a mapping as it is told of a sender's address,
// not a recipient's: the request is at fault, nobody is missing.
func OfSender(err error) error {
	if fault.KindOf(err) != fault.NotFound {
		return err
	}
	return fault.Wrap(fault.Malformed, err, "%s", "sender: "+fault.TextOf(err))
}

// Anonymous reports whether a URI hides its owner, who then can be sent nothing
// (RFC 3323, section 4.1.1.3; no host is ever .invalid).
func Anonymous(u sip.Uri) bool {
	u, _ = structured(u) // a number hides nobody
	host := strings.ToLower(strings.TrimSuffix(u.Host, "."))
	return host == "invalid" || strings.HasSuffix(host, ".invalid")
}
