package mapping

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim"
	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
)

// MaxMessage is the size in bytes of the largest MESSAGE sent where the way to
// the peer is not known to be safe from congestion (RFC 3428, section 8; RFC
// 7572, section 6).
const MaxMessage = 1300

// Accept says what a SIP peer is known to take beside text/plain.
type Accept struct {
	CPIM        bool // message/cpim, and so disposition notifications
	HTML        bool // text/html
	Alternative bool // multipart/alternative
	Composing   bool // application/im-iscomposing+xml
}

// SIPOptions is what a MESSAGE depends on beside the stanza.
type SIPOptions struct {
	TextOptions
	Accept    Accept
	CallID    string // of the thread; "" leaves Call-ID to the caller
	MessageID string // with which receipts and markers will name the message (RFC 5438, section 6.3)
	Now       time.Time
}

// MessageToSIP maps a message stanza with content (KindOf) to a MESSAGE request
// (RFC 7572, section 4, table 1):
//
//	from            From: the bare address with the resource as "gr"
//	to              Request-URI, with "gr" for a resource, and To without it
//	body            body, text/plain in UTF-8 with lines ended by CRLF
//	subject         Subject, on one line
//	thread          Call-ID; see CallIDOf
//	xml:lang        Content-Language: of the body that was chosen
//	type, id        none
//
// Where RFC 7572 is silent: a delay (XEP-0203) that the sender's domain notes is
// the Date; a request for a receipt or a marker wraps the text in message/cpim
// for a peer that takes it, and is dropped for another (RFC 5438, section
// 7.1.1); a secured object stands for all else in the stanza (RFC 3923, section
// 8).
//
// from and to are the parties as SIP names them. The request lacks what the
// transaction gives: Via, CSeq, Max-Forwards, tags, and Call-ID where none is
// in o. Size counts them all.
func MessageToSIP(m *xep.Message, from, to sip.Uri, o SIPOptions) (*sip.Request, error) {
	if m.E2E != "" {
		return securedToSIP(m, from, to, o)
	}
	text, err := TextToSIP(m, o.TextOptions)
	if err != nil {
		return nil, err
	}
	b := newBuilder(from, to, o.CallID)
	b.field("Subject", SubjectOf(m, text))
	b.date(m)
	content, err := contentOf(m, text, o)
	if err != nil {
		return nil, err
	}
	if asksNotice(m, o) {
		envelope, err := MessageToCPIM(m, bare(from), bare(to), content, o)
		if err != nil {
			return nil, err
		}
		return b.body(cpim.MediaType, envelope)
	}
	b.field("Content-Language", langTag(text.Lang))
	return b.body(content.Header.Get("Content-Type"), content.Body)
}

// contentOf returns the text as the best type that the peer takes. What was
// told in other words than the sender's has no HTML.
func contentOf(m *xep.Message, text xep.Text, o SIPOptions) (cpim.Part, error) {
	plain := part("text/plain;charset=UTF-8", lines(text.Value, "\r\n"))
	if m.HTML == nil || text.Value != bodyOf(m, o.Languages).Value || !o.Accept.HTML && !o.Accept.Alternative {
		return plain, nil
	}
	doc, err := XHTMLToHTML(m.HTML)
	if err != nil {
		return cpim.Part{}, err
	}
	rich := part("text/html;charset=UTF-8", lines(doc, "\r\n"))
	if !o.Accept.Alternative {
		return rich, nil
	}
	return alternative(plain, rich)
}

func part(contentType, body string) cpim.Part {
	return cpim.Part{Header: cpim.Fields{{Name: "Content-Type", Value: contentType}}, Body: []byte(body)}
}

// alternative joins the forms of one text, the plainest first (RFC 2046,
// section 5.1.4).
func alternative(parts ...cpim.Part) (cpim.Part, error) {
	var all []byte
	for _, p := range parts {
		b, err := p.Bytes()
		if err != nil {
			return cpim.Part{}, err
		}
		all = append(all, b...)
	}
	boundary := "form"
	for n := 0; bytes.Contains(all, []byte("--"+boundary)); n++ {
		boundary = "form" + strconv.Itoa(n)
	}
	var body []byte
	for _, p := range parts {
		b, err := p.Bytes()
		if err != nil {
			return cpim.Part{}, err
		}
		body = append(append(append(body, "--"+boundary+"\r\n"...), b...), "\r\n"...)
	}
	body = append(body, "--"+boundary+"--\r\n"...)
	return part(`multipart/alternative;boundary="`+boundary+`"`, string(body)), nil
}

// MessageToCPIM wraps a content in Message/CPIM (RFC 3922, section 4.1), with
// the request for disposition notifications that the stanza makes, if o has a
// MessageID (RFC 5438, section 7.1.1.3):
//
//	from, to           From, To: bare, with the scheme of the addresses given
//	subject            Subject, one for each language
//	delay              DateTime, if it may be believed; else the present
//	request, markable  Disposition-Notification
//	thread, id, type   none
func MessageToCPIM(m *xep.Message, from, to sip.Uri, content cpim.Part, o SIPOptions) ([]byte, error) {
	c := &cpim.Message{
		From:     cpim.Address{Name: m.Nick, URI: from.String()},
		To:       []cpim.Address{{URI: to.String()}},
		DateTime: o.Now,
		Content:  content,
	}
	if stamp, ok := delayed(m); ok {
		c.DateTime = stamp
	}
	for _, s := range m.Subjects {
		c.Subjects = append(c.Subjects, cpim.Text{Lang: m.LangOf(s), Text: s.Value})
	}
	askNotice(c, m, o)
	return c.Bytes()
}

// Size returns the size of a request in bytes as it is written to the wire.
func Size(req *sip.Request) int { return len(req.String()) }

// CheckSize refuses (fault.TooLarge, 513 to a sender on SIP) a request whose Size
// is over limit bytes; 0 is no limit (RFC 7572, section 6; RFC 3428, section 8).
func CheckSize(size, limit int) error {
	if limit > 0 && size > limit {
		return sipx.Refuse(sip.StatusMessageTooLarge, fault.TooLarge,
			fmt.Sprintf("the message is too large: %d bytes as SIP, at most %d may be sent", size, limit))
	}
	return nil
}

// A builder makes one MESSAGE; the first error stays.
type builder struct {
	req *sip.Request
	err error
}

func newBuilder(from, to sip.Uri, callID string) *builder {
	b := &builder{req: sip.NewRequest(sip.MESSAGE, to)}
	b.req.AppendHeader(&sip.FromHeader{Address: from, Params: sip.NewParams()})
	b.req.AppendHeader(&sip.ToHeader{Address: bare(to), Params: sip.NewParams()})
	if callID != "" {
		id := sip.CallIDHeader(callID)
		b.req.AppendHeader(&id)
		if !sipx.IsCallID(callID) {
			b.err = fault.E(fault.Malformed, "not a Call-ID")
		}
	}
	return b
}

// bare returns u without the parameter that names a device.
func bare(u sip.Uri) sip.Uri {
	u = *u.Clone()
	u.UriParams.Remove("gr")
	return u
}

// field adds a header field unless its value is empty.
func (b *builder) field(name, value string) {
	if value == "" || b.err != nil {
		return
	}
	h, err := sipx.Header(name, value)
	if err != nil {
		b.err = err
		return
	}
	b.req.AppendHeader(h)
}

// date tells when a message was sent that was stored on its way.
func (b *builder) date(m *xep.Message) {
	if stamp, ok := delayed(m); ok {
		b.field("Date", sipx.FormatDate(stamp))
	}
}

// delayed returns when a message was first sent, as the sender, his server or
// his room says. Nobody else can know, and anybody may write it (XEP-0203,
// section 5): a note that names another domain, or none, is passed over.
func delayed(m *xep.Message) (time.Time, bool) {
	if m.Delay == nil || !m.Delay.From.Domain().Equal(m.From.Domain()) {
		return time.Time{}, false
	}
	return m.Delay.Stamp, true
}

// body completes the request. Every field of it came through a checked
// constructor; the wire reads the whole back before it sends it.
func (b *builder) body(contentType string, body []byte) (*sip.Request, error) {
	b.field("Content-Type", contentType)
	if b.err != nil {
		return nil, b.err
	}
	b.req.SetBody(body)
	return b.req, nil
}

// langTag returns a language tag fit for Content-Language, or "" (RFC 5646,
// section 2.1): what an XMPP sender wrote there may be anything.
func langTag(tag string) string {
	if !language.MatchString(tag) {
		return ""
	}
	return tag
}

var language = regexp.MustCompile(`^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$`)
