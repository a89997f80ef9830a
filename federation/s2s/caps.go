package s2s

import (
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"strings"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
)

// Entity capabilities say what a domain of ours can do before it is asked
// (XEP-0115).
const (
	nsCaps   = "http://jabber.org/protocol/caps"
	capsNode = "urn:cpimgate" // names this software (section 4)
)

// caps stands in the features of a stream (XEP-0115, section 6.3).
func (s *Server) caps() string {
	c := xmltree.New(nsCaps, "c").With("hash", "sha-1").With("node", capsNode).With("ver", verification(s.info("")))
	return string(c.Append(nil, xep.NS))
}

// node is the one that stands for what a domain of ours can do now.
func (s *Server) node() string { return capsNode + "#" + verification(s.info("")) }

// verification is the hash of an answer to disco#info (XEP-0115, section 5.1).
func verification(info *xmltree.Element) string {
	var identities, features, forms []string
	for e := range info.Elements() {
		switch {
		case e.Is(nsInfo, "identity"):
			identities = append(identities, strings.Join([]string{e.Get("category"), e.Get("type"), e.GetName(xmltree.Lang), e.Get("name")}, "/"))
		case e.Is(nsInfo, "feature"):
			features = append(features, e.Get("var"))
		case e.Is(nsData, "x"):
			forms = append(forms, strings.Join(formParts(e), "<"))
		}
	}
	var b strings.Builder
	for _, parts := range [][]string{identities, features, forms} {
		slices.Sort(parts)
		for _, part := range parts {
			b.WriteString(part + "<")
		}
	}
	sum := sha1.Sum([]byte(b.String()))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// formParts are what the hash takes from a form: its type, then each field with
// its values.
func formParts(form *xmltree.Element) []string {
	var kind string
	fields := map[string][]string{}
	var names []string
	for f := range form.Elements() {
		var values []string
		for v := range f.Elements() {
			values = append(values, v.Text())
		}
		slices.Sort(values)
		if f.Get("var") == "FORM_TYPE" {
			kind = strings.Join(values, "<")
			continue
		}
		names = append(names, f.Get("var"))
		fields[f.Get("var")] = values
	}
	slices.Sort(names)
	parts := []string{kind}
	for _, name := range names {
		parts = append(append(parts, name), fields[name]...)
	}
	return parts
}
