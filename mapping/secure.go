package mapping

import (
	"bytes"
	"encoding/base64"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim"
	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
)

// isSecured reports whether a type is an S/MIME object (RFC 3923, section 6;
// RFC 8551): nothing in it is ours to read or change.
func isSecured(m cpim.Media) bool {
	switch m.Type {
	case "multipart/signed", "application/pkcs7-mime", "application/x-pkcs7-mime":
		return true
	}
	return false
}

// entityFields are those of a secured object that travel with it.
var entityFields = []string{"Content-Type", "Content-Disposition", "Content-Id"}

// secured takes an S/MIME object, byte for byte (RFC 3923, section 8). There is
// no clear text beside it.
//
// XML turns each line end into LF, so an object stands as it is only if all its
// line ends are CRLF and XML has all its characters; another is sent in base64
// as its outer transfer encoding, where section 6.4 wants binary.
func (r *reader) secured(p cpim.Part) error {
	body, err := p.Decode()
	if err != nil {
		return err
	}
	plain := onlyCRLF(body) && utf8.Valid(body) && xmltree.Clean(string(body)) == string(body)
	var b strings.Builder
	b.WriteByte('\n')
	for _, name := range entityFields {
		if v := p.Header.Get(name); v != "" {
			b.WriteString(name + ": " + xmltree.Clean(v) + "\n")
		}
	}
	if plain {
		b.WriteString("\n" + strings.ReplaceAll(string(body), "\r\n", "\n") + "\n")
	} else {
		b.WriteString("Content-Transfer-Encoding: base64\n\n")
		for packed := base64.StdEncoding.EncodeToString(body); packed != ""; {
			n := min(len(packed), 76)
			b.WriteString(packed[:n] + "\n")
			packed = packed[n:]
		}
	}
	r.m.E2E = b.String()
	return nil
}

// onlyCRLF reports whether each line ends the way that is signed (RFC 8551).
func onlyCRLF(b []byte) bool {
	n := bytes.Count(b, []byte("\r\n"))
	return bytes.Count(b, []byte("\n")) == n && bytes.Count(b, []byte("\r")) == n
}

// securedToSIP is the inverse: the wrapper goes, the object is the body (RFC
// 3923, section 8). Every line ends with CRLF again, the form that was signed;
// a transfer encoding is reversed, since SIP carries binary.
func securedToSIP(m *xep.Message, from, to sip.Uri, o SIPOptions) (*sip.Request, error) {
	p := objectOf(m.E2E)
	if len(p.Header) == 0 {
		return nil, fault.E(fault.Malformed, "the secured object has no Content-Type")
	}
	if !isSecured(p.Media()) {
		return nil, fault.E(fault.Unsupported, "the secured object is no S/MIME")
	}
	p.Body = bytes.TrimSuffix(p.Body, []byte("\r\n")) // before the end of the section
	body, err := p.Decode()
	if err != nil {
		return nil, err
	}
	b := newBuilder(from, to, o.CallID)
	b.field("Subject", SubjectOf(m, xep.Text{Lang: m.Lang}))
	b.date(m)
	for _, name := range entityFields {
		v := p.Header.Get(name)
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
			return nil, fault.E(fault.Malformed, "a header of the secured object is not in US-ASCII")
		}
		if name != "Content-Type" {
			b.field(name, v)
		}
	}
	return b.body(p.Header.Get("Content-Type"), body)
}

// objectOf reads the content of an e2e element.
func objectOf(e2e string) cpim.Part {
	text := strings.TrimLeft(lines(e2e, "\n"), " \t\n")
	return cpim.ParsePart([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
}

// SecuredAt returns when the content of an e2e element says that it was made:
// the DateTime of a CPIM object that is signed in the clear. It is zero for one
// that does not show it. To believe it, and to mind it, is the recipient's (RFC
// 3923, section 6.9).
func SecuredAt(e2e string) time.Time {
	p := objectOf(e2e)
	if p.Media().Type != "multipart/signed" {
		return time.Time{}
	}
	parts, err := p.Split()
	if err != nil || len(parts) == 0 || parts[0].Media().Type != cpim.MediaType {
		return time.Time{}
	}
	b, err := parts[0].Decode()
	if err != nil {
		return time.Time{}
	}
	c, err := cpim.Parse(b)
	if err != nil {
		return time.Time{}
	}
	return c.DateTime
}
