package trunk

import (
	"strings"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
)

// maxRedirects bounds how often one request is sent to another address.
const maxRedirects = 5

// redirected returns the request that a redirection leads to, with the same
// From, To and Call-ID (RFC 3261, section 8.1.3.4), or nil. We follow to
// addresses of the same domain only: the sender's words are for nobody else.
// No URI is asked twice.
func redirected(req *sip.Request, res *sip.Response, domain string, asked map[string]bool) *sip.Request {
	if len(asked) > maxRedirects || req.To().Params.Has("tag") {
		return nil
	}
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || c.Address.Wildcard || c.Address.Scheme != "sips" && c.Address.Scheme != req.Recipient.Scheme {
			continue
		}
		u := *c.Address.Clone()
		u.Headers = nil // they would be ours to add; they are not allowed in a Request-URI
		if id := canonical(u); hostName(u.Host) == domain && sipx.IsURI(u.String()) && !asked[id] {
			asked[id] = true
			next := successor(req)
			next.Recipient = u
			return next
		}
	}
	return nil
}

// canonical is a URI for comparison: the host is in any case.
func canonical(u sip.Uri) string {
	u.Host = strings.ToLower(u.Host)
	return sipx.URIText(&u)
}
