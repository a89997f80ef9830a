package sipx

import (
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
)

// A Refusal is a fault with the status that RFC 3261 names for it.
type Refusal struct {
	Status int
	Fields []sip.Header // that the status wants: Allow, Unsupported, ...
	Err    error        // a fault; its text is the reason phrase
}

// Refuse returns a refusal whose reason phrase is text.
func Refuse(status int, kind fault.Kind, text string, fields ...sip.Header) *Refusal {
	return &Refusal{Status: status, Fields: fields, Err: fault.E(kind, "%s", Reason(text))}
}

// Error returns the text.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the fault.
func (r *Refusal) Unwrap() error { return r.Err }

func malformed(what string) error { return Refuse(sip.StatusBadRequest, fault.Malformed, what) }

// once are the header fields that a message may have one of (RFC 3261, section
// 7.3.1: no comma-separated list in their grammar).
var once = map[string]bool{
	"Call-ID": true, "CSeq": true, "From": true, "To": true, "Max-Forwards": true,
	"Content-Length": true, "Content-Type": true, "Content-Disposition": true, "MIME-Version": true,
	"Date": true, "Event": true, "Expires": true, "Min-Expires": true, "Organization": true,
	"Priority": true, "Refer-To": true, "Referred-By": true, "Replaces": true, "Reply-To": true,
	"Retry-After": true, "Server": true, "Sip-Etag": true, "Sip-If-Match": true, "Subject": true,
	"Subscription-State": true, "Timestamp": true, "User-Agent": true,
}

// schemes are those of a Request-URI that we may find a user for; the others
// are answered 416 (RFC 3261, section 8.2.2.1).
var schemes = map[string]bool{"sip": true, "sips": true, "im": true, "pres": true, "tel": true}

// CheckRequest refuses a request that is not what RFC 3261 says a request is.
// The error is a *[Refusal]. It wants a message that came from [Parser]; with
// another parser a display name without its quotes goes unnoticed.
func CheckRequest(req *sip.Request) error {
	if !strings.EqualFold(req.SipVersion, "SIP/2.0") {
		return Refuse(sip.StatusVersionNotSupported, fault.Unsupported, "Version Not Supported")
	}
	if err := checkFields(req.Headers()); err != nil {
		return err
	}
	for _, check := range []func(*sip.Request) error{checkRequestURI, checkMandatory, checkVia, checkBody} {
		if err := check(req); err != nil {
			return err
		}
	}
	return nil
}

// checkFields looks at every header field by itself, and that those which
// stand once do. Those that were read as more than text were text: [Parser] has
// seen to that.
func checkFields(fields []sip.Header) error {
	for i, h := range fields {
		name := Canonical(h.Name())
		if !IsToken(name) || !isRead(h) && !isText(h.Value()) {
			return malformed("Header field is not text")
		}
		if _, isBad := h.(*bad); isBad {
			return malformed("Bad " + name)
		}
		if once[name] && slices.ContainsFunc(fields[:i], func(h sip.Header) bool { return named(h.Name(), name) }) {
			return malformed("More than one " + name)
		}
	}
	return nil
}

// isRead reports a field that a header parser has read.
func isRead(h sip.Header) bool {
	switch h.(type) {
	case *sip.ViaHeader, *sip.FromHeader, *sip.ToHeader, *sip.ContactHeader, *sip.RouteHeader, *sip.RecordRouteHeader,
		*sip.CSeqHeader, *sip.CallIDHeader, *sip.MaxForwardsHeader, *sip.ContentLengthHeader, *sip.ContentTypeHeader,
		*sip.ReferToHeader, *sip.ReferredByHeader:
		return true
	}
	return false
}

func checkRequestURI(req *sip.Request) error {
	u := &req.Recipient
	switch {
	case !IsToken(string(req.Method)):
		return malformed("Bad method")
	case u.Wildcard || !IsURI(URIText(u)):
		return malformed("Bad Request-URI")
	case !schemes[u.Scheme]:
		return Refuse(sip.StatusRequestedRangeNotSatisfiable, fault.Unsupported, "Unsupported URI Scheme")
	case len(u.Headers) > 0: // RFC 3261, section 19.1.1, table 1
		return malformed("Headers in Request-URI")
	}
	return nil
}

// checkMandatory holds RFC 3261, section 8.1.1 against the request.
func checkMandatory(req *sip.Request) error {
	from, to, cseq := req.From(), req.To(), req.CSeq()
	switch {
	case from == nil:
		return malformed("No From")
	case to == nil:
		return malformed("No To")
	case req.CallID() == nil || !IsCallID(req.CallID().Value()):
		return malformed("No Call-ID")
	case cseq == nil || cseq.SeqNo > 1<<31-1:
		return malformed("No CSeq")
	case cseq.MethodName != req.Method:
		return malformed("CSeq is for another method")
	case !IsURI(URIText(&from.Address)) || !IsURI(URIText(&to.Address)):
		return malformed("Bad URI in From or To")
	}
	if tag, _ := from.Params.Get("tag"); !IsToken(tag) {
		return malformed("No From tag")
	}
	if tag, ok := to.Params.Get("tag"); ok && !IsToken(tag) {
		return malformed("Bad To tag")
	}
	if Has(req, "Max-Forwards") && (req.MaxForwards() == nil || req.MaxForwards().Val() > 255) {
		return malformed("Bad Max-Forwards")
	}
	return nil
}

// checkVia reads every Via (RFC 3261, section 20.42): the response goes where
// they say.
func checkVia(req *sip.Request) error {
	top := true
	for _, h := range req.Headers() {
		if !named(h.Name(), "Via") {
			continue
		}
		via, ok := h.(*sip.ViaHeader)
		if !ok || !strings.EqualFold(via.ProtocolName, "SIP") || via.ProtocolVersion != "2.0" ||
			!IsToken(via.Transport) || !isHost(bracketed(via.Host)) || via.Port < 0 || via.Port > 65535 {
			return malformed("Bad Via")
		}
		for _, p := range via.Params {
			if !IsToken(p.K) || p.V != "" && valueLen(p.V) != len(p.V) {
				return malformed("Bad Via parameter")
			}
		}
		if branch, _ := via.Params.Get("branch"); top && branch == sip.RFC3261BranchMagicCookie {
			return malformed("Bad branch") // RFC 4475, section 3.2.1
		}
		top = false
	}
	if top {
		return malformed("No Via")
	}
	return nil
}

// bracketed gives an IPv6 address the brackets that sipgo takes off.
func bracketed(host string) string {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return "[" + host + "]"
	}
	return host
}

func checkBody(req *sip.Request) error {
	if l := req.ContentLength(); l != nil && int(*l) != len(req.Body()) {
		return malformed("Content-Length is not that of the body")
	}
	if len(req.Body()) > 0 && req.ContentType() == nil { // RFC 3261, section 20.15
		return malformed("No Content-Type")
	}
	return nil
}

// CheckResponse refuses a response that RFC 3261, section 18.1.2 and the
// grammar leave no use for; such a response is dropped.
func CheckResponse(res *sip.Response) error {
	if res.StatusCode < 100 || res.StatusCode > 699 {
		return malformed("Bad status")
	}
	if err := checkFields(res.Headers()); err != nil {
		return err
	}
	vias := 0
	for _, h := range res.Headers() {
		if named(h.Name(), "Via") {
			vias++
		}
	}
	if vias != 1 {
		return malformed("Not one Via") // section 8.1.3.3
	}
	if res.CSeq() == nil || res.CallID() == nil || res.From() == nil || res.To() == nil {
		return malformed("Response without a mandatory header field")
	}
	return nil
}

// CheckOutgoing is the last look at a message before it is written: what it
// prints must be read back as the same message. Its fault is ours, not a
// peer's.
func CheckOutgoing(msg sip.Message) error {
	_, err := Print(msg)
	return err
}

// Print returns the text of a message, after [CheckOutgoing]'s look at it.
func Print(msg sip.Message) (string, error) {
	var b strings.Builder
	b.Grow(768 + len(msg.Body()))
	var data *sip.MessageData
	switch m := msg.(type) {
	case *sip.Request:
		b.WriteString(string(m.Method) + " ")
		start := b.Len()
		m.Recipient.StringWrite(&b)
		if !IsToken(string(m.Method)) || !IsURI(b.String()[start:]) {
			return "", fault.E(fault.Malformed, "not a request that can be written")
		}
		b.WriteString(" " + m.SipVersion)
		data = &m.MessageData
	case *sip.Response:
		m.StartLineWrite(&b)
		if m.StatusCode < 100 || m.StatusCode > 699 {
			return "", fault.E(fault.Malformed, "not a response that can be written")
		}
		data = &m.MessageData
	}
	if !isText(b.String()) {
		return "", fault.E(fault.Malformed, "start line is not text")
	}
	b.WriteString("\r\n")
	start := b.Len()
	data.StringWrite(&b) // the header alone
	if err := checkHeader(b.String()[start:], data.Headers()); err != nil {
		return "", err
	}
	b.WriteString("\r\n")
	b.Write(msg.Body())
	return b.String(), nil
}

// checkHeader checks each field as it was printed, and that there are as many
// lines as fields: a line end in a value makes one more.
func checkHeader(text string, fields []sip.Header) error {
	for _, h := range fields {
		line, rest, ok := strings.Cut(text, "\r\n")
		name := h.Name()
		value, colon := strings.CutPrefix(strings.TrimPrefix(line, name), ": ")
		if !ok || !colon || len(line) != len(name)+2+len(value) {
			return errLines
		}
		if err := checkWritten(h, value); err != nil {
			return err
		}
		text = rest
	}
	if text != "" {
		return errLines
	}
	return nil
}

var errLines = fault.E(fault.Malformed, "a header field is not one line")

// checkWritten checks one field by the value that is written.
func checkWritten(h sip.Header, value string) error {
	if !IsToken(h.Name()) || !isText(value) {
		return fault.E(fault.Malformed, "header field %s cannot be written", strconv.QuoteToASCII(cut(h.Name(), 40)))
	}
	switch h.(type) {
	case *sip.FromHeader, *sip.ToHeader, *sip.ContactHeader, *sip.RouteHeader, *sip.RecordRouteHeader:
		if value != "*" && !isAddress(value) {
			return fault.E(fault.Malformed, "header field %s has no address", h.Name())
		}
	}
	switch r := h.(type) { // im and pres are no way to go (RFC 3428, section 5)
	case *sip.RouteHeader:
		return checkRoute(r.Address)
	case *sip.RecordRouteHeader:
		return checkRoute(r.Address)
	}
	if _, isBad := h.(*bad); isBad {
		return fault.Wrap(fault.Malformed, errBad, "header field %s cannot be written", h.Name())
	}
	return nil
}

func checkRoute(u sip.Uri) error {
	if u.Scheme == "sip" || u.Scheme == "sips" {
		return nil
	}
	return fault.E(fault.Malformed, "route is no SIP URI")
}
