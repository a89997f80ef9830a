package mapping

import (
	"regexp"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim"
	"cpimgate/cpim/composing"
	"cpimgate/cpim/fault"
	"cpimgate/cpim/imdn"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
)

// staleAfter is how old a message must be for its time to be told: a live one
// needs none (RFC 3922, section 4.2.4, knew no syntax for it).
const staleAfter = time.Minute

// XMPPOptions is what a stanza depends on beside the MESSAGE.
type XMPPOptions struct {
	ID          string  // of the stanza
	Thread      string  // in place of the Call-ID, where one of the two is not fit for the other
	Sender      jid.JID // who the SIP sender is if From does not say it, or says another (ADDR-30)
	Chat        bool    // type chat, for clients that hide normal messages
	Nick        bool    // pass the display name: first contact
	PlainOnly   bool    // no XHTML-IM beside the plain text
	SeveralTo   bool    // take a CPIM object with several recipients if this one is among them
	Now         time.Time
	MaxInflated int // bytes that a compressed body may grow to; 0 is MaxInflated
}

// Incoming is what a MESSAGE means to XMPP. At most one of Stanza, Composing
// and Notices is there; a MESSAGE with none of them is consumed, and answered
// 200 all the same.
type Incoming struct {
	Stanza    *xep.Message         // text or a secured object
	Composing *composing.Status    // for ComposingToXMPP
	Notices   []*imdn.Notification // for NoticeToXMPP
	Asked     *imdn.Request        // what the sender wants to be told of the message; nil is nothing
	CPIM      bool                 // came in message/cpim: the peer takes that too
	Sent      time.Time            // when, as the sender says; zero if it does not
	Until     time.Time            // when the message loses its worth (RFC 3428, section 7); zero is never
}

// MessageToXMPP maps a MESSAGE request to a message stanza (RFC 7572, section 5,
// table 2):
//
//	From, with gr         from: given, as only the caller knows the peer's word
//	Request-URI or To     to: given likewise
//	Call-ID               thread; see ThreadOf
//	Subject               subject
//	Content-Language      xml:lang, the first tag
//	transaction           id, and origin-id (XEP-0359): given
//	body                  body; see below
//	CSeq, and the others  none
//
// The stanza has no type, which is normal. By Content-Type (section 7):
//
//	text/plain                  body; charsets other than UTF-8 are converted
//	text/html                   XHTML-IM, and a body made from it
//	message/cpim                what is inside, with its subjects (RFC 3922, section 4.2)
//	multipart/alternative       the plain and the HTML form of one text
//	multipart/mixed             the texts, joined
//	message/external-body       its URL as text (RFC 4483)
//	multipart/signed, pkcs7     whole, in e2e (RFC 3923, section 8)
//	im-iscomposing+xml          Composing
//	imdn+xml                    Notices
//	others                      415 with Accept
//
// Date is a delay (XEP-0203) that the sender notes, where it is more than a
// minute past; the display name is a nick (XEP-0172) on first contact. A CPIM
// object whose From is not the sender is refused (fault.Forbidden).
func MessageToXMPP(req *sip.Request, from, to jid.JID, o XMPPOptions) (*Incoming, error) {
	r := &reader{
		req: req, o: o, in: &Incoming{},
		m: &xep.Message{From: from, To: to, ID: o.ID, OriginID: o.ID, Thread: o.Thread},
	}
	if o.Chat {
		r.m.Type = "chat"
	}
	if id := req.CallID(); id != nil && r.m.Thread == "" {
		r.m.Thread, _ = ThreadOf(id.Value())
	}
	if f := req.From(); f != nil && o.Nick {
		r.m.Nick = sipx.Phrase(quotedPairs.ReplaceAllString(f.DisplayName, "$1"))
	}
	r.m.Lang = languageOf(sipx.Value(req, "Content-Language"))
	body, err := r.entity()
	if err != nil {
		return nil, err
	}
	r.times()
	if len(body.Body) > 0 {
		if err := r.read(body, 0); err != nil {
			return nil, err
		}
	}
	r.finish()
	return r.in, nil
}

// quotedPairs are the escapes that sipgo leaves in a display name (RFC 3261,
// section 25.1).
var quotedPairs = regexp.MustCompile(`\\(.)`)

// A reader reads one MESSAGE.
type reader struct {
	req      *sip.Request
	o        XMPPOptions
	in       *Incoming
	m        *xep.Message
	texts    []string
	wrapped  bool // inside message/cpim
	subjects bool // which had subjects of its own
}

// entity returns the body of the request as a MIME entity, uncompressed.
func (r *reader) entity() (cpim.Part, error) {
	p := cpim.Part{Body: r.req.Body()}
	for _, name := range []string{"Content-Type", "Content-Disposition", "Content-Transfer-Encoding", "Content-Language", "Content-Id"} {
		if v := sipx.Value(r.req, name); v != "" {
			p.Header = append(p.Header, cpim.Field{Name: name, Value: v})
		}
	}
	var err error
	p.Body, err = inflate(p.Body, sipx.Tokens(r.req, "Content-Encoding"), r.o.MaxInflated)
	return p, err
}

// times notes when the message was sent and how long it is good for.
func (r *reader) times() {
	r.in.Sent, _ = sipx.Date(r.req)
	r.in.Until, _ = GoodUntil(r.req, r.o.Now)
}

// GoodUntil returns when a MESSAGE that came at some time loses its worth, if it
// does, counted from its Date or else from then (RFC 3428, section 7).
func GoodUntil(req *sip.Request, came time.Time) (time.Time, bool) {
	if date, ok := sipx.Date(req); ok {
		came = date
	}
	d, ok := sipx.Expires(req)
	if !ok {
		return time.Time{}, false
	}
	return came.Add(d), true
}

// finish puts the parts together. White space alone is no message: some
// servers send it to wake a client up.
func (r *reader) finish() {
	m := r.m
	if subject := sipx.Value(r.req, "Subject"); subject != "" && !r.subjects {
		m.Subjects = []xep.Text{{Value: strings.TrimSpace(subject)}}
	}
	text := strings.Join(r.texts, "\n")
	if strings.TrimSpace(text) != "" {
		m.Bodies = []xep.Text{{Value: text}}
	}
	notice := r.in.Composing != nil || len(r.in.Notices) > 0
	empty := m.E2E == "" && len(m.Bodies) == 0 && len(m.Subjects) == 0
	switch {
	case notice && len(m.Bodies) > 0: // RFC 5438, section 9: one or the other
		r.in.Composing, r.in.Notices = nil, nil
	case notice || empty:
		r.in.Asked = nil
		return
	}
	if r.in.Asked != nil {
		m.Request, m.Markable = r.in.Asked.Positive, r.in.Asked.Display
	}
	if !r.in.Sent.IsZero() && r.o.Now.Sub(r.in.Sent) > staleAfter {
		m.Delay = &xep.Delay{Stamp: r.in.Sent.UTC(), From: m.From}
	}
	r.ownLanguage()
	r.in.Stanza = m
}

// ownLanguage moves the language from the stanza to its text where the subjects
// came from a CPIM object: one without a language there has none, and must not
// inherit it (RFC 3862, section 3.3).
func (r *reader) ownLanguage() {
	if !r.subjects {
		return
	}
	for i := range r.m.Bodies {
		r.m.Bodies[i].Lang = r.m.Lang
	}
	if r.m.HTML != nil {
		r.m.HTML.WithLang(r.m.Lang)
	}
	r.m.Lang = ""
}

// maxNesting bounds multiparts and envelopes inside one another.
const maxNesting = 6

// read takes one entity by its type.
func (r *reader) read(p cpim.Part, depth int) error {
	media := p.Media()
	if depth > maxNesting {
		return fault.E(fault.Unsupported, "message is nested too deep")
	}
	if !rendered(p, media.Type) {
		return optional(p, "this Content-Disposition is not supported")
	}
	switch media.Type {
	case "text/plain", "text/html":
		return r.text(p, media)
	case cpim.MediaType:
		return r.envelope(p, depth)
	case composing.MediaType:
		return r.composing(p)
	case imdn.MediaType:
		return r.notice(p)
	case "multipart/alternative":
		return r.alternative(p, depth)
	case "multipart/mixed":
		return r.mixed(p, depth)
	case "message/external-body":
		return r.external(p, media)
	}
	if isSecured(media) {
		return r.secured(p)
	}
	return optional(p, "this type of message is not supported")
}

// composing takes a status document. One that cannot be read says nothing.
func (r *reader) composing(p cpim.Part) error {
	b, err := p.Decode()
	if err != nil {
		return err
	}
	if s, err := composing.Parse(b); err == nil {
		r.in.Composing = s
	}
	return nil
}

// notice takes a disposition notification. One that cannot be read says
// nothing, and is consumed.
func (r *reader) notice(p cpim.Part) error {
	b, err := p.Decode()
	if err != nil {
		return err
	}
	if n, err := imdn.Parse(b); err == nil {
		r.in.Notices = append(r.in.Notices, n)
	}
	return nil
}

// text takes a text of its own or as a form of one.
func (r *reader) text(p cpim.Part, media cpim.Media) error {
	if lang := languageOf(p.Header.Get("Content-Language")); lang != "" {
		r.m.Lang = lang
	}
	b, err := p.Decode()
	if err != nil {
		return err
	}
	s, err := decodeText(b, media.Charset())
	if err != nil || media.Type == "text/plain" {
		r.texts = append(r.texts, strings.TrimSuffix(s, "\n"))
		return err
	}
	body, err := HTMLToXHTML(s)
	if err != nil {
		return err
	}
	r.texts = append(r.texts, XHTMLToText(body))
	if !r.o.PlainOnly && len(body.Nodes) > 0 {
		r.m.HTML = body
	}
	return nil
}

// alternative takes the forms of one text that XMPP has room for: the plain
// one, and the HTML one beside it (RFC 2046, section 5.1.4).
func (r *reader) alternative(p cpim.Part, depth int) error {
	parts, err := p.Split()
	if err != nil {
		return err
	}
	former := r.texts
	var best []string
	var failure error = unsupported("no form of this message is supported")
	for _, inner := range parts {
		r.texts = nil
		err := r.read(inner, depth+1)
		switch {
		case err != nil && fault.KindOf(err) != fault.Unsupported:
			return err
		case err != nil:
			continue
		case best == nil || inner.Media().Type != "text/html": // whose text is made up
			best = r.texts
		}
		failure = nil
	}
	r.texts = append(former, best...)
	return failure
}

// mixed takes every part. What cannot be taken, and may not be left out, makes
// the whole unsupported: nothing is lost in silence.
func (r *reader) mixed(p cpim.Part, depth int) error {
	parts, err := p.Split()
	if err != nil {
		return err
	}
	for _, inner := range parts {
		if err := r.read(inner, depth+1); err != nil {
			return err
		}
	}
	if len(r.texts) > 1 {
		r.m.HTML = nil // it would be only a part of the text
	}
	return nil
}

// external takes a reference (RFC 4483, section 5): its address is the text.
func (r *reader) external(p cpim.Part, media cpim.Media) error {
	link := safeLink(strings.Join(strings.Fields(media.Params["url"]), ""))
	if !strings.EqualFold(media.Params["access-type"], "url") || link == "" {
		return optional(p, "this kind of reference is not supported")
	}
	r.texts = append(r.texts, link)
	return nil
}

// rendered reports whether the disposition of an entity is one that a message
// has (RFC 3261, section 20.11; RFC 2183; RFC 5438, section 9).
func rendered(p cpim.Part, media string) bool {
	switch disposition, _ := p.Disposition(); disposition {
	case "", "render", "inline", "attachment":
		return true
	case imdn.Disposition:
		return media == imdn.MediaType || media == cpim.MediaType || strings.HasPrefix(media, "multipart/")
	}
	return false
}

// optional refuses an entity, unless its sender says that it may be left out
// (RFC 3261, section 8.2.3).
func optional(p cpim.Part, why string) error {
	if _, params := p.Disposition(); strings.EqualFold(params["handling"], "optional") {
		return nil
	}
	return unsupported(why)
}

// accepted are the types of a MESSAGE that mean something here.
const accepted = "text/plain, text/html, message/cpim, application/im-iscomposing+xml, message/imdn+xml, " +
	"multipart/alternative, multipart/mixed, multipart/signed, application/pkcs7-mime, message/external-body"

// unsupported is a 415 that says what is supported (RFC 3261, section
// 21.4.13).
func unsupported(why string, fields ...sip.Header) error {
	fields = append(fields, sip.NewHeader("Accept", accepted))
	return sipx.Refuse(sip.StatusUnsupportedMediaType, fault.Unsupported, why, fields...)
}

// languageOf returns the first tag of a Content-Language (RFC 7572, section 8).
func languageOf(value string) string {
	first, _, _ := strings.Cut(value, ",")
	return langTag(strings.TrimSpace(first))
}
