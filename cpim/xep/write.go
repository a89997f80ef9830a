package xep

import (
	"encoding/xml"
	"strconv"
	"time"

	"cpimgate/cpim/xmltree"
)

// Element returns the stanza as ParseMessage reads it. The secured object of
// RFC 3923 stands as escaped text where the RFC shows CDATA sections: to an
// XML parser both are the same characters (XML 1.0, section 2.7), and nothing
// in the object can end the section early.
func (m *Message) Element() *xmltree.Element {
	e := m.Header().element()
	if m.Type == "error" {
		if m.Error != nil {
			e.Add(m.Error.element())
		}
		return e
	}
	w := writer{e}
	for _, s := range m.Subjects {
		e.Add(textElement("subject", s))
	}
	w.text(m.Thread != "", NS, "thread", m.Thread)
	for _, b := range m.Bodies {
		e.Add(textElement("body", b))
	}
	if m.HTML != nil {
		e.Add(xmltree.New(NSXHTMLIM, "html", m.HTML))
	}
	w.text(m.E2E != "", NSE2E, "e2e", m.E2E)
	w.text(m.Nick != "", NSNick, "nick", m.Nick)
	if m.State != "" {
		w.flag(true, NSStates, string(m.State))
	}
	w.flag(m.Request, NSReceipts, "request")
	w.id(NSReceipts, "received", m.Received)
	w.flag(m.Markable, NSMarkers, "markable")
	w.id(NSMarkers, "displayed", m.Displayed)
	w.id(NSReplace, "replace", m.Replaces)
	w.id(NSReply, "reply", m.ReplyTo)
	w.id(NSRetract, "retract", m.Retracts)
	w.id(NSSID, "origin-id", m.OriginID)
	w.flag(m.Attention, NSAttention, "attention")
	w.flag(m.Event, NSEvent, "event")
	w.flag(m.Multicast, NSAddresses, "addresses")
	m.writeLarger(e)
	return e
}

// writeLarger adds the payloads that are more than one element.
func (m *Message) writeLarger(e *xmltree.Element) {
	if m.Delay != nil {
		e.Add(xmltree.New(NSDelay, "delay").With("from", m.Delay.From.String()).
			With("stamp", m.Delay.Stamp.UTC().Format(time.RFC3339Nano)))
	}
	if m.Quoted {
		e.Add(xmltree.New(NSFallback, "fallback", xmltree.New(NSFallback, "body")).With("for", NSReply))
	}
	if r := m.Reactions; r != nil {
		x := xmltree.New(NSReactions, "reactions").With("id", r.ID)
		for _, emoji := range r.Emoji {
			x.Add(xmltree.New(NSReactions, "reaction", xmltree.Text(emoji)))
		}
		e.Add(x)
	}
	for _, url := range m.OOB {
		e.Add(xmltree.New(NSOOB, "x", xmltree.New(NSOOB, "url", xmltree.Text(url))))
	}
	for _, f := range m.Files {
		e.Add(f.element())
	}
	if m.Encryption != "" {
		e.Add(xmltree.New(NSEME, "encryption").With("name", m.Encryption))
	}
}

func (f File) element() *xmltree.Element {
	meta := xmltree.New(NSFile, "file")
	if f.Name != "" {
		meta.Add(xmltree.New(NSFile, "name", xmltree.Text(f.Name)))
	}
	if f.Size >= 0 {
		meta.Add(xmltree.New(NSFile, "size", xmltree.Text(strconv.FormatInt(f.Size, 10))))
	}
	e := xmltree.New(NSSFS, "file-sharing", meta)
	if f.URL != "" {
		e.Add(xmltree.New(NSSFS, "sources", xmltree.New(NSURLData, "url-data").With("target", f.URL)))
	}
	return e
}

func (h Header) element() *xmltree.Element {
	e := &xmltree.Element{Name: xml.Name{Space: NS, Local: h.Name}, Attr: make([]xml.Attr, 0, 5), Nodes: make([]xmltree.Node, 0, 4)}
	return e.With("from", h.From.String()).With("to", h.To.String()).
		With("id", h.ID).With("type", h.Type).WithLang(h.Lang)
}

func textElement(name string, t Text) *xmltree.Element {
	e := xmltree.New(NS, name).WithLang(t.Lang)
	if t.Value != "" {
		e.Add(xmltree.Text(t.Value))
	}
	return e
}

// A writer adds small payloads to a stanza.
type writer struct{ e *xmltree.Element }

func (w writer) flag(is bool, space, local string) {
	if is {
		w.e.Add(xmltree.New(space, local))
	}
}

func (w writer) id(space, local, id string) {
	if id != "" {
		w.e.Add(xmltree.New(space, local).With("id", id))
	}
}

func (w writer) text(is bool, space, local, text string) {
	if is {
		w.e.Add(xmltree.New(space, local, xmltree.Text(text)))
	}
}
