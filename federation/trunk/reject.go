package trunk

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
)

// readable reports whether sipgo's parser will take a framed message. If it
// would not, it would end the connection, and with it what others have sent on
// it; and over UDP leave the sender without an answer. A Request-URI that it
// would read as another is not readable either.
func readable(b []byte) bool {
	head, _, _ := bytes.Cut(b, blank)
	start, fields, _ := bytes.Cut(head, blank[:2])
	for line := range bytes.SplitSeq(fields, blank[:2]) {
		if !isField(line) {
			return false
		}
	}
	if len(fields) > 0 && (fields[0] == ' ' || fields[0] == '\t') { // continues nothing
		return false
	}
	if bytes.IndexByte(start, '\r') >= 0 {
		return false
	}
	first, rest, _ := strings.Cut(string(start), " ")
	middle, last, ok := strings.Cut(rest, " ")
	if strings.HasPrefix(first, "SIP/") {
		code, err := strconv.ParseUint(middle, 10, 16)
		return ok && err == nil && len(middle) == 3 && code >= 100 && code <= 699
	}
	var u sip.Uri
	return ok && strings.HasPrefix(last, "SIP/") && !strings.Contains(last, " ") &&
		sip.ParseUri(middle, &u) == nil && !u.Wildcard && (u.Raw() != "" || !sipx.Misread(middle))
}

// isField reports a line with a colon, or the continuation of one.
func isField(line []byte) bool {
	folded := len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
	return len(line) == 0 || bytes.IndexByte(line, '\r') < 0 && (folded || bytes.IndexByte(line, ':') > 0)
}

// rejection returns the answer to a request that cannot be read, as far as its
// Via can be, without a transaction (RFC 4475, section 3.2.1). It is nil where
// none is due, as for responses and ACK.
func (t *Trunk) rejection(b []byte, reason, source string) *sip.Response {
	head, _, _ := bytes.Cut(b, blank)
	start, fields, _ := bytes.Cut(head, blank[:2])
	method, rest, _ := strings.Cut(string(start), " ")
	target, _, isSIP := strings.Cut(rest, " SIP/")
	if !isSIP || !sipx.IsToken(method) || method == string(sip.ACK) {
		return nil
	}
	fixed := []byte(method + " sip:invalid.invalid SIP/2.0\r\n")
	for line := range bytes.SplitSeq(fields, blank[:2]) {
		if isField(line) {
			fixed = append(append(fixed, line...), blank[:2]...)
		}
	}
	msg, _, err := t.parser.ParseHeaders(append(fixed, blank[:2]...), false)
	req, ok := msg.(*sip.Request)
	if err != nil || !ok || req.Via() == nil {
		return nil
	}
	req.SetSource(source)
	mark(req, source)
	status := sip.StatusBadRequest
	if sipx.IsURI(target) && sip.ParseUri(target, new(sip.Uri)) != nil {
		status, reason = sip.StatusRequestedRangeNotSatisfiable, "Unsupported URI Scheme"
	}
	res := Reply(req, status, reason)
	if sipx.CheckOutgoing(res) != nil {
		return nil
	}
	return res
}
