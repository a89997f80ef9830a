package mapping

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
)

// A Kind says what a message stanza means to SIP; one stanza may be several
// of these. The zero Kind is nothing at all: no MESSAGE and no error.
type Kind uint8

const (
	Content   Kind = 1 << iota // text or a secured object: MessageToSIP
	ChatState                  // a chat state without content: StateToSIP
	Receipt                    // says that a message was received: ReceiptToSIP
	Marker                     // says that a message was displayed: ReceiptToSIP
	Failure                    // a stanza error: the error tables
)

// Has reports whether k includes what.
func (k Kind) Has(what Kind) bool { return k&what != 0 }

// A StanzaRefusal is a fault with a stanza error of its own, where that of its
// kind would say less.
type StanzaRefusal struct {
	Type, Condition string
	Address         string // of a redirect: where to write instead, as an XMPP URI
	Err             error  // a fault
}

// Error returns the fault's text.
func (r *StanzaRefusal) Error() string { return r.Err.Error() }

// Unwrap returns the fault.
func (r *StanzaRefusal) Unwrap() error { return r.Err }

// TextOptions is what the text of a message depends on beside the stanza.
type TextOptions struct {
	Former     string   // text of the message that this one answers or reacts to; "" where it is not remembered
	Corrected  bool     // the message that this one corrects was delivered
	Languages  []string // what the recipient reads, best first
	Plaintext  bool     // of an encrypted message deliver the body that stands beside the ciphertext
	NoReaction bool     // drop reactions even where they could be told
}

// KindOf says what m means to SIP. It refuses what must not be delivered
// otherwise than whole: end-to-end encryption that SIP does not have, and
// several recipients (XEP-0033).
func KindOf(m *xep.Message, o TextOptions) (Kind, error) {
	switch {
	case m.Type == "error":
		return Failure, nil
	case m.Event:
		return 0, nil // pubsub events are no messages (XEP-0163, section 4.3)
	case m.Multicast:
		return 0, &StanzaRefusal{
			Type: "cancel", Condition: "feature-not-implemented",
			Err: fault.E(fault.Unsupported, "messages to several recipients are not supported"),
		}
	}
	var k Kind
	if m.Received != "" {
		k |= Receipt
	}
	if m.Displayed != "" {
		k |= Marker
	}
	text, err := TextToSIP(m, o)
	switch {
	case err != nil:
		return 0, err
	case m.E2E != "" || text.Value != "" || SubjectOf(m, text) != "":
		k |= Content
	case m.State != "":
		k |= ChatState
	}
	return k, nil
}

// TextToSIP returns the one text that stands for m in a MESSAGE, and its
// language; "" is none. What the RFCs do not cover is told in words:
//
//	retraction (XEP-0424)      (retracted a message)
//	reaction (XEP-0444)        reacted ... to "...", if the message is remembered
//	correction (XEP-0308)      (corrected) and the new text
//	reply (XEP-0461)           the quotation that is there, or else the first line of the remembered message
//	attention (XEP-0224)       (wants your attention), if there is no body
//	link (XEP-0066)            the address, unless the text has it
//	file (XEP-0447, XEP-0385)  name, size and address
//	encryption (XEP-0380)      refused (fault.Unsupported), except OTR, which is text
func TextToSIP(m *xep.Message, o TextOptions) (xep.Text, error) {
	text := bodyOf(m, o.Languages)
	otr := m.Encryption == xep.OTR && strings.HasPrefix(text.Value, "?OTR")
	if m.Encryption != "" && !otr && !o.Plaintext {
		return xep.Text{}, fault.E(fault.Unsupported, "messages encrypted with %s cannot be delivered to this user", m.Encryption)
	}
	switch {
	case m.Retracts != "":
		return xep.Text{Value: "(retracted a message)", Lang: "en"}, nil
	case m.Reactions != nil && (len(m.Reactions.Emoji) == 0 || o.NoReaction):
		return xep.Text{}, nil
	case m.Reactions != nil && o.Former != "":
		said := "reacted " + strings.Join(m.Reactions.Emoji, " ") + ` to "` + head(o.Former, 40) + `"`
		return xep.Text{Value: said, Lang: "en"}, nil
	case text.Value == "" && m.Attention:
		text = xep.Text{Value: "(wants your attention)", Lang: "en"}
	}
	if text.Value != "" && m.ReplyTo != "" && !m.Quoted && o.Former != "" {
		text.Value = "> " + firstLine(o.Former) + "\n" + text.Value
	}
	text.Value = withLinks(m, text.Value)
	if onlyCiphertext(text.Value) && !o.Plaintext {
		return xep.Text{}, fault.E(fault.Unsupported, "an encrypted file cannot be delivered to this user")
	}
	if text.Value != "" && m.Replaces != "" && o.Corrected {
		text.Value = "(corrected) " + text.Value
	}
	return text, nil
}

// bodyOf chooses the body to send: in a language that the recipient reads,
// else in the stanza's own, else the first (RFC 7572, section 8; RFC 6121,
// section 5.2.3). White space alone is no body.
func bodyOf(m *xep.Message, languages []string) xep.Text {
	chosen := -1
	for _, want := range append(languages[:len(languages):len(languages)], m.Lang) {
		for i, b := range m.Bodies {
			if chosen < 0 && want != "" && matches(m.LangOf(b), want) {
				chosen = i
			}
		}
	}
	var text xep.Text
	switch {
	case chosen >= 0:
		text = m.Bodies[chosen]
	case len(m.Bodies) > 0:
		text = m.Bodies[0]
	case m.HTML != nil:
		text.Value = XHTMLToText(m.HTML)
	}
	text.Lang = m.LangOf(text)
	text.Value = lines(text.Value, "\n")
	if strings.TrimSpace(text.Value) == "" {
		text.Value = ""
	}
	return text
}

// matches is the basic filtering of RFC 4647.
func matches(tag, want string) bool {
	if len(tag) > len(want) && tag[len(want)] == '-' {
		tag = tag[:len(want)]
	}
	return strings.EqualFold(tag, want)
}

// SubjectOf returns the subject to send with a text: the one in its language,
// else the first, on one line.
func SubjectOf(m *xep.Message, text xep.Text) string {
	if len(m.Subjects) == 0 {
		return ""
	}
	subject := m.Subjects[0].Value
	for _, s := range m.Subjects {
		if text.Lang != "" && strings.EqualFold(m.LangOf(s), text.Lang) {
			subject = s.Value
			break
		}
	}
	return sipx.Phrase(lines(subject, " "))
}

// withLinks adds the addresses of links and files that the text lacks, each on
// a line of its own.
func withLinks(m *xep.Message, text string) string {
	for _, f := range m.Files {
		line := fileLine(f)
		switch {
		case f.URL != "" && strings.TrimSpace(text) == f.URL:
			text = line
		case line != "" && (f.URL == "" || !strings.Contains(text, f.URL)):
			text = addLine(text, line)
		}
	}
	for _, url := range m.OOB {
		if url = lines(url, " "); !strings.Contains(text, url) {
			text = addLine(text, url)
		}
	}
	return text
}

func addLine(text, line string) string {
	if text == "" {
		return line
	}
	return text + "\n" + line
}

func fileLine(f xep.File) string {
	var words []string
	if f.Name != "" {
		words = append(words, lines(f.Name, " "))
	}
	if f.Size >= 0 && (f.Name != "" || f.URL != "") {
		words = append(words, "("+fileSize(f.Size)+")")
	}
	if f.URL != "" {
		words = append(words, lines(f.URL, " "))
	}
	return strings.Join(words, " ")
}

func fileSize(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

// onlyCiphertext reports whether a text is nothing but links to encrypted
// files (XEP-0454, section 3): without the key's client they are noise.
func onlyCiphertext(text string) bool {
	any := false
	for w := range strings.FieldsSeq(text) {
		if len(w) < 9 || !strings.EqualFold(w[:9], "aesgcm://") {
			return false
		}
		any = true
	}
	return any
}

// lines returns text with each line end, however spelt, written as end.
func lines(text, end string) string {
	if !strings.ContainsAny(text, "\r\n") {
		return text
	}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.ReplaceAll(text, "\r", "\n")
	if end == "\n" {
		return text
	}
	return strings.ReplaceAll(text, "\n", end)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(lines(text, "\n"), "\n")
	return line
}

// head returns at most n characters of a text, on one line.
func head(text string, n int) string {
	text = lines(text, " ")
	for i := range text {
		if n == 0 {
			return text[:i]
		}
		n--
	}
	return strings.ToValidUTF8(text, string(utf8.RuneError))
}
