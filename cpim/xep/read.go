package xep

import (
	"encoding/xml"
	"strconv"
	"strings"
	"time"

	"mellium.im/xmpp/jid"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xmltree"
)

// ParseMessage reads a message stanza. Payloads that we do not know, or that
// lack what makes them useful, are dropped; only an address that is none is an
// error (fault.Malformed). Of several payloads of one kind the first counts, of
// subjects and bodies the first in each language (RFC 6121, section 5.2.3).
func ParseMessage(e *xmltree.Element) (*Message, error) {
	if e.Name.Local != "message" {
		return nil, fault.E(fault.Malformed, "not a message")
	}
	h, err := HeaderOf(e)
	if err != nil {
		return nil, err
	}
	return MessageOf(e, h), nil
}

// MessageOf reads a message whose header was read already.
func MessageOf(e *xmltree.Element, h Header) *Message {
	m := &Message{From: h.From, To: h.To, ID: h.ID, Type: h.Type, Lang: h.Lang}
	if m.Type == "error" {
		m.Error = ErrorOf(e)
		return m
	}
	seen := map[xml.Name]bool{}
	for c := range e.Elements() {
		switch {
		case c.Name.Space == e.Name.Space:
			m.own(c)
		case c.Name.Space == NSStates:
			m.setState(c.Name.Local)
		case payloads[c.Name] != nil && !seen[c.Name]:
			seen[c.Name] = !several[c.Name]
			payloads[c.Name](m, c)
		}
	}
	return m
}

// own reads a child in the stanza's own namespace (RFC 6121, section 5.2).
func (m *Message) own(e *xmltree.Element) {
	switch e.Name.Local {
	case "subject":
		m.Subjects = m.addText(m.Subjects, e)
	case "body":
		m.Bodies = m.addText(m.Bodies, e)
	case "thread":
		if m.Thread == "" {
			m.Thread = e.Text()
		}
	}
}

func (m *Message) addText(list []Text, e *xmltree.Element) []Text {
	t := Text{Lang: e.GetName(xmltree.Lang), Value: e.Text()}
	for _, former := range list {
		if strings.EqualFold(m.LangOf(former), m.LangOf(t)) {
			return list
		}
	}
	return append(list, t)
}

func (m *Message) setState(local string) {
	switch s := State(local); s {
	case Active, Inactive, Composing, Paused, Gone:
		if m.State == "" {
			m.State = s
		}
	}
}

// payloads says how each extension is read.
var payloads = map[xml.Name]func(*Message, *xmltree.Element){
	{Space: NSXHTMLIM, Local: "html"}:        func(m *Message, e *xmltree.Element) { m.HTML = e.Child(NSXHTML, "body") },
	{Space: NSNick, Local: "nick"}:           func(m *Message, e *xmltree.Element) { m.Nick = strings.TrimSpace(e.Text()) },
	{Space: NSDelay, Local: "delay"}:         func(m *Message, e *xmltree.Element) { m.Delay = delayOf(e) },
	{Space: NSE2E, Local: "e2e"}:             func(m *Message, e *xmltree.Element) { m.E2E = e.Text() },
	{Space: NSReceipts, Local: "request"}:    func(m *Message, _ *xmltree.Element) { m.Request = true },
	{Space: NSReceipts, Local: "received"}:   func(m *Message, e *xmltree.Element) { m.Received = e.Get("id") },
	{Space: NSMarkers, Local: "markable"}:    func(m *Message, _ *xmltree.Element) { m.Markable = true },
	{Space: NSMarkers, Local: "displayed"}:   func(m *Message, e *xmltree.Element) { m.Displayed = e.Get("id") },
	{Space: NSOOB, Local: "x"}:               (*Message).addOOB,
	{Space: NSSID, Local: "origin-id"}:       func(m *Message, e *xmltree.Element) { m.OriginID = e.Get("id") },
	{Space: NSReplace, Local: "replace"}:     func(m *Message, e *xmltree.Element) { m.Replaces = e.Get("id") },
	{Space: NSReply, Local: "reply"}:         func(m *Message, e *xmltree.Element) { m.ReplyTo = e.Get("id") },
	{Space: NSFallback, Local: "fallback"}:   (*Message).addFallback,
	{Space: NSReactions, Local: "reactions"}: (*Message).setReactions,
	{Space: NSRetract, Local: "retract"}:     func(m *Message, e *xmltree.Element) { m.Retracts = e.Get("id") },
	{Space: NSFasten, Local: "apply-to"}:     (*Message).setFastened,
	{Space: NSAttention, Local: "attention"}: func(m *Message, _ *xmltree.Element) { m.Attention = true },
	{Space: NSEvent, Local: "event"}:         func(m *Message, _ *xmltree.Element) { m.Event = true },
	{Space: NSAddresses, Local: "addresses"}: func(m *Message, _ *xmltree.Element) { m.Multicast = true },
	{Space: NSSFS, Local: "file-sharing"}:    (*Message).addSFS,
	{Space: NSReference, Local: "reference"}: (*Message).addSIMS,
	{Space: NSEME, Local: "encryption"}:      (*Message).setEncryption,

	{Space: "eu.siacs.conversations.axolotl", Local: "encrypted"}: (*Message).setCiphertext,
	{Space: "urn:xmpp:omemo:1", Local: "encrypted"}:               (*Message).setCiphertext,
	{Space: "urn:xmpp:omemo:2", Local: "encrypted"}:               (*Message).setCiphertext,
	{Space: "urn:xmpp:openpgp:0", Local: "openpgp"}:               (*Message).setCiphertext,
	{Space: "jabber:x:encrypted", Local: "x"}:                     (*Message).setCiphertext,
}

// several are the payloads that may stand more than once.
var several = map[xml.Name]bool{
	{Space: NSOOB, Local: "x"}:               true,
	{Space: NSFallback, Local: "fallback"}:   true,
	{Space: NSSFS, Local: "file-sharing"}:    true,
	{Space: NSReference, Local: "reference"}: true,
}

// encryptions names the namespaces of end-to-end encryption (XEP-0380,
// section 3.2).
var encryptions = map[string]string{
	"urn:xmpp:otr:0":                 OTR,
	"jabber:x:encrypted":             "Legacy OpenPGP",
	"urn:xmpp:openpgp:0":             "OpenPGP for XMPP",
	"eu.siacs.conversations.axolotl": "OMEMO",
	"urn:xmpp:omemo:1":               "OMEMO",
	"urn:xmpp:omemo:2":               "OMEMO",
}

// OTR is the name of the one encryption whose ciphertext is the body itself.
const OTR = "OTR"

func (m *Message) setEncryption(e *xmltree.Element) {
	for _, name := range []string{encryptions[e.Get("namespace")], e.Get("name"), e.Get("namespace"), "unknown"} {
		if name != "" {
			m.Encryption = name
			return
		}
	}
}

func (m *Message) setCiphertext(e *xmltree.Element) {
	if m.Encryption == "" {
		m.Encryption = encryptions[e.Name.Space]
	}
}

// delayOf reads a delay (XEP-0203, section 2), nil without a time that is one
// (XEP-0082, section 3.2).
func delayOf(e *xmltree.Element) *Delay {
	stamp, err := time.Parse(time.RFC3339, e.Get("stamp"))
	if err != nil {
		return nil
	}
	stamp = stamp.UTC()
	if stamp.Year() < 1 || stamp.Year() > 9999 {
		return nil
	}
	from, err := ParseJID(e.Get("from"))
	if err != nil {
		from = jid.JID{}
	}
	return &Delay{Stamp: stamp, From: from}
}

func (m *Message) addOOB(e *xmltree.Element) {
	if u := e.Child(NSOOB, "url"); u != nil {
		if url := strings.TrimSpace(u.Text()); url != "" {
			m.OOB = append(m.OOB, url)
		}
	}
}

// addFallback notes the one fallback that matters here: the quotation in front
// of a reply (XEP-0461, section 3.1). Without a body child the whole body is
// fallback (XEP-0428, section 2.2).
func (m *Message) addFallback(e *xmltree.Element) {
	if e.Get("for") == NSReply && (e.Child(NSFallback, "body") != nil || len(e.Nodes) == 0) {
		m.Quoted = true
	}
}

func (m *Message) setReactions(e *xmltree.Element) {
	r := &Reactions{ID: e.Get("id")}
	for c := range e.Elements() {
		if emoji := strings.TrimSpace(c.Text()); c.Is(NSReactions, "reaction") && emoji != "" {
			r.Emoji = append(r.Emoji, emoji)
		}
	}
	if r.ID != "" {
		m.Reactions = r
	}
}

// setFastened reads the older form of a retraction.
func (m *Message) setFastened(e *xmltree.Element) {
	if e.Child(NSRetract0, "retract") != nil && m.Retracts == "" {
		m.Retracts = e.Get("id")
	}
}

// addSFS reads a file shared statelessly (XEP-0447, section 3.1).
func (m *Message) addSFS(e *xmltree.Element) {
	f := fileOf(e)
	if sources := e.Child(NSSFS, "sources"); sources != nil {
		for c := range sources.Elements() {
			if c.Is(NSURLData, "url-data") {
				f.addSource(c.Get("target"))
			}
		}
	}
	m.Files = append(m.Files, f)
}

// addSIMS reads its predecessor (XEP-0385, section 4.1).
func (m *Message) addSIMS(e *xmltree.Element) {
	media := e.Child(NSSIMS, "media-sharing")
	if media == nil {
		return
	}
	f := fileOf(media)
	if sources := media.Child(NSSIMS, "sources"); sources != nil {
		for c := range sources.Elements() {
			if c.Is(NSReference, "reference") {
				f.addSource(c.Get("uri"))
			}
		}
	}
	m.Files = append(m.Files, f)
}

// fileOf reads name and size of the file element in e, whatever its namespace:
// SIMS takes that of Jingle in any version.
func fileOf(e *xmltree.Element) File {
	f := File{Size: -1}
	for file := range e.Elements() {
		if file.Name.Local != "file" {
			continue
		}
		for c := range file.Elements() {
			switch c.Name.Local {
			case "name":
				f.Name = strings.TrimSpace(c.Text())
			case "size":
				if n, err := strconv.ParseInt(strings.TrimSpace(c.Text()), 10, 64); err == nil && n >= 0 {
					f.Size = n
				}
			}
		}
	}
	return f
}

// addSource keeps the first source that anybody can fetch.
func (f *File) addSource(url string) {
	low := strings.ToLower(url)
	if f.URL == "" && (strings.HasPrefix(low, "https://") || strings.HasPrefix(low, "http://")) {
		f.URL = url
	}
}
