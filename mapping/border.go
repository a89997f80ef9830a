package mapping

import (
	"slices"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
)

// hop are the header fields of a request that belong to one hop, or to the
// trust domain that it leaves (RFC 3261, section 16.6; RFC 3325, section 8).
var hop = []string{
	"Via", "Route", "Record-Route", "Contact", "Max-Forwards", "Content-Length",
	"Proxy-Authorization", "Proxy-Require", "P-Asserted-Identity", "P-Preferred-Identity",
}

// answers are the header fields of a response that say something to who has
// asked, wherever it is (RFC 3261, section 20).
var answers = []string{
	"Accept", "Accept-Encoding", "Accept-Language", "Allow", "Content-Language", "Date", "Error-Info", "Expires",
	"Min-Expires", "Reply-To", "Retry-After", "Server", "Supported", "Unsupported", "Warning", "WWW-Authenticate",
}

// Onward returns the request that takes a MESSAGE on to another SIP domain: the
// same, body byte for byte, but for what belongs to the hop it came by, with
// one hop less to go (RFC 3261, section 16.6). From tag, Call-ID and CSeq stay, so
// that one which comes round again is known (section 8.2.2.2).
func Onward(req *sip.Request) *sip.Request {
	out := sip.NewRequest(req.Method, req.Recipient)
	for _, h := range req.Headers() {
		if !slices.Contains(hop, sipx.Canonical(h.Name())) {
			out.AppendHeader(sip.HeaderClone(h))
		}
	}
	left := sip.MaxForwardsHeader(69)
	if h := req.MaxForwards(); h != nil && h.Val() > 0 {
		left = sip.MaxForwardsHeader(h.Val() - 1)
	}
	out.AppendHeader(&left)
	out.SetBody(req.Body())
	return out
}

// Back returns the header fields of a final response that go back with its
// status.
func Back(res *sip.Response) []sip.Header {
	var fields []sip.Header
	for _, h := range res.Headers() {
		if slices.Contains(answers, sipx.Canonical(h.Name())) {
			fields = append(fields, sip.HeaderClone(h))
		}
	}
	return fields
}
