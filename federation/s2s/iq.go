package s2s

import (
	"maps"
	"slices"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
)

// The namespaces of the requests that a domain of ours answers.
const (
	nsInfo    = "http://jabber.org/protocol/disco#info"
	nsItems   = "http://jabber.org/protocol/disco#items"
	nsVersion = "jabber:iq:version"
	nsPing    = "urn:xmpp:ping"
)

// A form in disco#info with facts about a server (XEP-0128, section 2).
const (
	nsData     = "jabber:x:data"
	serverInfo = "http://jabber.org/network/serverinfo"
)

// features are what disco#info of a domain lists: what iq answers, and what the
// features of our streams hold. Receipts are the affair of users.
var features = []string{nsCaps, nsInfo, nsItems, nsVersion, nsPing}

// iq answers a request, or returns nil for what must not be answered (RFC 6120,
// section 8.2.3). We serve a few requests to our domains; all others, and all
// to users, find no service: that says nothing about who exists (RFC 6121,
// section 8.5).
func (s *Server) iq(e *xmltree.Element, h xep.Header) *xmltree.Element {
	switch h.Type {
	case "result", "error":
		s.answered(query{h.To.String(), h.From.String(), h.ID}, e, nil)
		return nil
	case "get", "set":
	default:
		return xep.ErrorStanza(h, &xep.Error{Condition: "bad-request", Type: "modify"})
	}
	payload := slices.Collect(e.Elements())
	if len(payload) != 1 {
		return xep.ErrorStanza(h, &xep.Error{Condition: "bad-request", Type: "modify"})
	}
	if toDomain := h.To.Equal(h.To.Domain()); toDomain && h.Type == "get" {
		answer, known, condition := s.domain(payload[0])
		if condition != "" {
			return xep.ErrorStanza(h, &xep.Error{Condition: condition, Type: "cancel"})
		}
		if known {
			return result(e, answer)
		}
	}
	return xep.ErrorStanza(h, &xep.Error{Condition: "service-unavailable", Type: "cancel"})
}

// domain answers a get to a domain of ours; nil is an empty result.
func (s *Server) domain(ask *xmltree.Element) (answer *xmltree.Element, known bool, condition string) {
	node := ask.Get("node")
	switch {
	case ask.Is(nsPing, "ping"): // XEP-0199, section 4.1
		return nil, true, ""
	case ask.Is(nsInfo, "query") && node != "" && node != s.node(): // XEP-0030, section 3.2
		return nil, false, "item-not-found"
	case ask.Is(nsInfo, "query"):
		return s.info(node), true, ""
	case ask.Is(nsItems, "query"): // nothing, which is no error: XEP-0030, section 4.1
		return xmltree.New(nsItems, "query").With("node", node), true, ""
	case ask.Is(nsVersion, "query"): // XEP-0092
		q := xmltree.New(nsVersion, "query", xmltree.New(nsVersion, "name", xmltree.Text(s.cfg.Name)))
		return q.Add(xmltree.New(nsVersion, "version", xmltree.Text(s.cfg.Version))), true, ""
	}
	return nil, false, ""
}

// info is a domain's disco#info (XEP-0030, section 3.1): a gateway to SIMPLE
// that routes as a server does, and whom to ask about it. The node is "", or the
// one that stands for the domain (XEP-0115, section 6.2).
func (s *Server) info(node string) *xmltree.Element {
	q := xmltree.New(nsInfo, "query").With("node", node).Add(
		xmltree.New(nsInfo, "identity").With("category", "gateway").With("type", "simple").With("name", s.cfg.Name),
		xmltree.New(nsInfo, "identity").With("category", "server").With("type", "im").With("name", s.cfg.Name))
	for _, f := range features {
		q.Add(xmltree.New(nsInfo, "feature").With("var", f))
	}
	if ways := s.cfg.Contact(); len(ways) > 0 {
		q.Add(contacts(ways))
	}
	return q
}

// contacts says how those who run the service are reached (XEP-0157, section
// 3).
func contacts(ways map[string][]string) *xmltree.Element {
	form := xmltree.New(nsData, "x", field("FORM_TYPE", serverInfo).With("type", "hidden")).With("type", "result")
	for _, role := range slices.Sorted(maps.Keys(ways)) {
		form.Add(field(role+"-addresses", ways[role]...))
	}
	return form
}

// field is one field of a form (XEP-0004, section 3.2).
func field(name string, values ...string) *xmltree.Element {
	f := xmltree.New(nsData, "field").With("var", name)
	for _, v := range values {
		f.Add(xmltree.New(nsData, "value", xmltree.Text(v)))
	}
	return f
}

// result is the answer to a request (RFC 6120, section 8.2.3).
func result(e, payload *xmltree.Element) *xmltree.Element {
	r := xmltree.New(xep.NS, "iq").With("from", e.Get("to")).With("to", e.Get("from")).With("type", "result")
	r.With("id", e.Get("id"))
	if payload != nil {
		r.Add(payload)
	}
	return r
}
