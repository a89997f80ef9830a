package sipx

import (
	"errors"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// A bad header field breaks its grammar. The message is kept, so that it can
// be answered 400: sipgo alone would drop it, or take it.
type bad struct {
	sip.Header
}

// Parser returns a parser that keeps messages whose header fields are
// malformed for [CheckRequest] to refuse; only a start line or a framing that
// makes no sense is an error. A message is at most max octets.
func Parser(max int) *sip.Parser {
	parsers := make(map[string]sip.HeaderParser)
	for name, parse := range sip.DefaultHeadersParser() {
		parsers[name] = lenient(Canonical(name), parse)
	}
	p := sip.NewParser(sip.WithHeadersParsers(parsers))
	p.MaxMessageLength = max
	return p
}

// grammars are for fields that sipgo reads more generously than RFC 3261.
var grammars = map[string]func(string) bool{
	"From":         isAddress,
	"To":           isAddress,
	"Call-ID":      IsCallID,
	"Content-Type": isMediaType,
	"CSeq":         isCSeq,
	"Contact":      func(s string) bool { return s == "*" || isAddress(s) }, // the last of a list
}

// addresses are the fields in which sipgo reads URIs.
var addresses = map[string]bool{
	"From": true, "To": true, "Contact": true, "Route": true, "Record-Route": true, "Refer-To": true, "Referred-By": true,
}

// lenient wraps a header parser so that it never fails. What is no text is bad:
// who checks a field that was read need not print it.
func lenient(name string, parse sip.HeaderParser) sip.HeaderParser {
	ok, hasURI := grammars[name], addresses[name]
	return func(spelled []byte, text string) (sip.Header, error) {
		h, err := parse(spelled, text)
		if !isText(text) || hasURI && misreads(text) {
			return &bad{sip.NewHeader(name, text)}, nil
		}
		if err != nil && isComma(err) {
			tidy(h)
			return h, err // more values follow in this field
		}
		if err != nil || ok != nil && !ok(text) {
			return &bad{sip.NewHeader(name, text)}, nil
		}
		tidy(h)
		return h, nil
	}
}

// tidy takes off the white space that RFC 3261 allows around "=" and ";" and
// sipgo leaves in names and values.
func tidy(h sip.Header) {
	switch h := h.(type) {
	case *sip.FromHeader:
		trim(&h.Address, &h.Params)
	case *sip.ToHeader:
		trim(&h.Address, &h.Params)
	case *sip.ContactHeader:
		trim(&h.Address, &h.Params)
	case *sip.ViaHeader:
		if h.Transport == "" { // white space after the last "/"
			h.Transport, h.Host, _ = strings.Cut(strings.TrimLeft(h.Host, " \t"), " ")
		}
		h.Host = strings.Trim(h.Host, " \t")
		trim(nil, &h.Params)
	case *sip.CSeqHeader:
		h.MethodName = sip.RequestMethod(strings.Trim(string(h.MethodName), " \t"))
	}
}

func trim(u *sip.Uri, params *sip.HeaderParams) {
	if u != nil {
		u.Host = strings.TrimRight(u.Host, " \t")
	}
	kept := (*params)[:0]
	for _, p := range *params {
		p.K, p.V = strings.Trim(p.K, " \t"), strings.Trim(p.V, " \t")
		if p.K != "" || p.V != "" {
			kept = append(kept, p)
		}
	}
	*params = kept
}

// isComma recognises sipgo's private signal that one value of a list has been
// read.
func isComma(err error) bool { return err.Error() == "comma detected" }

func isCSeq(s string) bool {
	n, method, ok := strings.Cut(strings.ReplaceAll(s, "\t", " "), " ")
	return ok && all(n, isDigit) && IsToken(strings.TrimLeft(method, " "))
}

// isMediaType checks type/subtype and parameters (RFC 3261, section 25.1).
func isMediaType(s string) bool {
	media, params := s, ""
	if i := strings.IndexByte(s, ';'); i >= 0 {
		media, params = s[:i], s[i:]
	}
	typ, sub, ok := strings.Cut(media, "/")
	return ok && IsToken(strings.Trim(typ, " \t")) && IsToken(strings.Trim(sub, " \t")) && isParams(params)
}

// errBad is why CheckOutgoing and CheckRequest refuse a field.
var errBad = errors.New("header field breaks its grammar")
