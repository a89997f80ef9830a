package mapping

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/html"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
)

// MaxHTML bounds an HTML text in bytes, and maxHTMLDepth how deep the elements
// of its XHTML image nest: text further down is kept, its markup not.
const (
	MaxHTML      = 64 << 10
	maxHTMLDepth = 16
)

// HTMLToXHTML maps a text/html body to the body element of XHTML-IM (RFC 7572,
// section 7; XEP-0071, section 7). Only the elements, attributes and style
// properties of that profile's summary survive, and links of schemes that run
// nothing. What is no content (scripts, style sheets) goes with all that it
// contains; of other elements the text stays.
//
// An image becomes a link to it: a client must not be made to fetch what a
// stranger names. Markup outside the profile with an equal inside becomes that
// one, b for instance strong.
func HTMLToXHTML(doc string) (*xmltree.Element, error) {
	if len(doc) > MaxHTML {
		return nil, fault.E(fault.TooLarge, "HTML text is over %d bytes", MaxHTML)
	}
	root, err := html.Parse(strings.NewReader(doc))
	if err != nil {
		return nil, fault.Wrap(fault.Malformed, err, "HTML text cannot be read")
	}
	body := xmltree.New(xep.NSXHTML, "body")
	sanitiser{}.children(body, root, 1)
	return body, nil
}

// XHTMLToHTML maps the body element of XHTML-IM to a text/html document, for a
// peer that lists the type in Accept: the inverse of HTMLToXHTML, through the
// same profile, because an XMPP sender is no more trusted than a SIP one.
func XHTMLToHTML(body *xmltree.Element) (string, error) {
	clean := xmltree.New(xep.NSXHTML, "body")
	sanitiser{}.children(clean, htmlNode(body, 0), 1)
	doc := &html.Node{Type: html.ElementNode, Data: "html"}
	doc.AppendChild(htmlNode(clean, 0))
	var b strings.Builder
	if err := html.Render(&b, doc); err != nil {
		return "", fault.Wrap(fault.Malformed, err, "XHTML text cannot be written")
	}
	return b.String(), nil
}

// A sanitiser copies HTML into the XHTML-IM profile.
type sanitiser struct {
	inLink bool
	pre    bool
}

// profile is XEP-0071, section 7.8: the attributes of each element, after the
// image has become a link.
var profile = map[string][]string{
	"a":          {"href", "style", "type"},
	"blockquote": {"style"},
	"br":         nil,
	"cite":       {"style"},
	"em":         nil,
	"li":         {"style"},
	"ol":         {"style"},
	"p":          {"style"},
	"span":       {"style"},
	"strong":     nil,
	"ul":         {"style"},
}

// equals are elements outside the profile that mean the same as one inside.
var equals = map[string]struct{ name, style string }{
	"b":      {"strong", ""},
	"i":      {"em", ""},
	"dfn":    {"em", ""},
	"var":    {"em", ""},
	"q":      {"cite", ""},
	"u":      {"span", "text-decoration: underline"},
	"ins":    {"span", "text-decoration: underline"},
	"s":      {"span", "text-decoration: line-through"},
	"strike": {"span", "text-decoration: line-through"},
	"del":    {"span", "text-decoration: line-through"},
	"code":   {"span", "font-family: monospace"},
	"tt":     {"span", "font-family: monospace"},
	"kbd":    {"span", "font-family: monospace"},
	"samp":   {"span", "font-family: monospace"},
	"pre":    {"p", "font-family: monospace"},
	"h1":     {"p", "font-weight: bold"},
	"h2":     {"p", "font-weight: bold"},
	"h3":     {"p", "font-weight: bold"},
	"h4":     {"p", "font-weight: bold"},
	"h5":     {"p", "font-weight: bold"},
	"h6":     {"p", "font-weight: bold"},
	"tr":     {"p", ""},
	"dt":     {"p", ""},
	"dd":     {"p", ""},
}

// noContent are elements that hold nothing to read.
var noContent = map[string]bool{
	"script": true, "style": true, "head": true, "title": true, "iframe": true, "object": true, "embed": true,
	"applet": true, "template": true, "noscript": true, "noframes": true, "noembed": true, "frameset": true,
	"select": true, "audio": true, "video": true, "canvas": true, "map": true, "svg": true, "math": true,
}

func (s sanitiser) children(to *xmltree.Element, n *html.Node, depth int) {
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		switch c.Type {
		case html.TextNode:
			s.text(to, c.Data)
		case html.ElementNode:
			s.element(to, c, depth)
		}
	}
}

// text adds character data; in a pre element the lines are what they look
// like (XEP-0071, section 8).
func (s sanitiser) text(to *xmltree.Element, t string) {
	t = xmltree.Clean(t)
	if !s.pre {
		to.Add(xmltree.Text(t))
		return
	}
	for i, line := range strings.Split(strings.ReplaceAll(t, "\r\n", "\n"), "\n") {
		if i > 0 {
			to.Add(xmltree.New(xep.NSXHTML, "br"))
		}
		if line != "" {
			to.Add(xmltree.Text(strings.ReplaceAll(line, "  ", "\u00A0 ")))
		}
	}
}

func (s sanitiser) element(to *xmltree.Element, n *html.Node, depth int) {
	name := n.Data
	if noContent[name] || n.Namespace != "" {
		return
	}
	s.pre = s.pre || name == "pre"
	if name == "img" {
		s.image(to, n)
		return
	}
	e := xmltree.New(xep.NSXHTML, name)
	attrs, known := profile[name]
	if eq, ok := equals[name]; ok {
		e.Name.Local, known = eq.name, true
		e.With("style", eq.style)
	} else if name == "div" && !hasBlock(n, 0) {
		e.Name.Local, known = "p", true
		attrs = profile["p"]
	}
	if !known || depth >= maxHTMLDepth || name == "a" && s.inLink {
		s.descend(to, n, depth)
		return
	}
	for _, a := range attrs {
		e.With(a, safeAttr(a, attr(n, a)))
	}
	s.inLink = s.inLink || name == "a"
	s.descend(e, n, depth+1)
	to.Add(e)
}

// descend goes on below an element, however deep the input nests: html.Parse
// bounds it.
func (s sanitiser) descend(to *xmltree.Element, n *html.Node, depth int) {
	if to.Name.Local != "br" {
		s.children(to, n, depth)
	}
}

// image leaves a link to the image, or its alternative text.
func (s sanitiser) image(to *xmltree.Element, n *html.Node) {
	src, alt := safeAttr("href", attr(n, "src")), xmltree.Clean(attr(n, "alt"))
	if src == "" || s.inLink {
		if alt != "" {
			to.Add(xmltree.Text(alt))
		}
		return
	}
	if alt == "" {
		alt = src
	}
	to.Add(xmltree.New(xep.NSXHTML, "a", xmltree.Text(alt)).With("href", src))
}

// hasBlock reports whether n contains an element that starts a line of its
// own, which a paragraph may not (XEP-0071, section 8).
func hasBlock(n *html.Node, depth int) bool {
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if c.Type == html.ElementNode && (isBlock(c.Data) || c.Data == "div" || depth < maxHTMLDepth && hasBlock(c, depth+1)) {
			return true
		}
	}
	return false
}

func isBlock(name string) bool {
	switch name {
	case "p", "blockquote", "ol", "ul", "li":
		return true
	}
	eq, ok := equals[name]
	return ok && eq.name == "p"
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key && a.Namespace == "" {
			return a.Val
		}
	}
	return ""
}

// schemes are those of links that may pass.
var schemes = map[string]bool{
	"http": true, "https": true, "ftp": true, "mailto": true, "xmpp": true,
	"sip": true, "sips": true, "im": true, "pres": true, "tel": true,
}

// properties are those of XEP-0071, section 7.6.1.
var properties = map[string]bool{
	"background-color": true, "color": true, "font-family": true, "font-size": true, "font-style": true,
	"font-weight": true, "margin-left": true, "margin-right": true, "text-align": true, "text-decoration": true,
}

// styleValue admits words, numbers and colours: nothing that could name a
// resource or call a function but rgb.
var styleValue = regexp.MustCompile(`^(rgba?\([0-9., %]+\)|[-A-Za-z0-9#%., ]+)$`)

// safeAttr returns an attribute's value as far as it may pass, or "".
func safeAttr(name, value string) string {
	value = strings.TrimSpace(value)
	switch name {
	case "href":
		return safeLink(value)
	case "style":
		return safeStyle(value)
	}
	if styleValue.MatchString(strings.NewReplacer("/", "", "+", "").Replace(value)) {
		return value
	}
	return ""
}

func safeLink(value string) string {
	u, err := url.Parse(value)
	if err != nil || !schemes[strings.ToLower(u.Scheme)] {
		return ""
	}
	if strings.ContainsFunc(value, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return ""
	}
	return value
}

func safeStyle(value string) string {
	var kept []string
	for decl := range strings.SplitSeq(value, ";") {
		name, v, _ := strings.Cut(decl, ":")
		name, v = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(v)
		if properties[name] && styleValue.MatchString(v) {
			kept = append(kept, name+": "+v)
		}
	}
	return strings.Join(kept, "; ")
}

// htmlNode returns e as a node of the HTML parser.
func htmlNode(e *xmltree.Element, depth int) *html.Node {
	n := &html.Node{Type: html.ElementNode, Data: e.Name.Local}
	if e.Name.Space != xep.NSXHTML {
		n.Namespace = "foreign"
	}
	for _, a := range e.Attr {
		if a.Name.Space == "" {
			n.Attr = append(n.Attr, html.Attribute{Key: a.Name.Local, Val: a.Value})
		}
	}
	for _, c := range e.Nodes {
		switch c := c.(type) {
		case xmltree.Text:
			n.AppendChild(&html.Node{Type: html.TextNode, Data: string(c)})
		case *xmltree.Element:
			if depth < 4*maxHTMLDepth {
				n.AppendChild(htmlNode(c, depth+1))
			}
		}
	}
	return n
}

// XHTMLToText maps the body element of XHTML-IM to plain text, for the body
// that always accompanies it (XEP-0071, section 8). White space is what a
// reader would see; a link is followed by its address where the text hides it.
func XHTMLToText(body *xmltree.Element) string {
	var p plain
	p.children(body)
	return strings.TrimFunc(p.b.String(), unicode.IsSpace)
}

// plain writes text as HTML shows it.
type plain struct {
	b      strings.Builder
	space  bool // white space is due before the next word
	broken bool // at the start of a line
}

func (p *plain) children(e *xmltree.Element) {
	item := 0
	for _, n := range e.Nodes {
		switch n := n.(type) {
		case xmltree.Text:
			p.text(string(n))
		case *xmltree.Element:
			if n.Name.Local == "li" {
				item++
			}
			p.element(e, n, item)
		}
	}
}

func (p *plain) text(t string) {
	for word, rest := "", t; rest != ""; {
		i := strings.IndexAny(rest, " \t\r\n\f")
		switch i {
		case 0:
			p.space, rest = true, rest[1:]
			continue
		case -1:
			word, rest = rest, ""
		default:
			word, rest = rest[:i], rest[i:]
		}
		if p.space && !p.broken && p.b.Len() > 0 {
			p.b.WriteByte(' ')
		}
		p.b.WriteString(strings.ReplaceAll(word, "\u00A0", " "))
		p.space, p.broken = false, false
	}
}

func (p *plain) newline() {
	p.b.WriteByte('\n')
	p.space, p.broken = false, true
}

// line begins a line unless one has just begun.
func (p *plain) line() {
	if !p.broken && p.b.Len() > 0 {
		p.newline()
	}
}

func (p *plain) element(parent, e *xmltree.Element, item int) {
	switch e.Name.Local {
	case "br":
		p.newline()
	case "a":
		p.link(e)
	case "blockquote":
		p.line()
		for l := range strings.SplitSeq(XHTMLToText(e), "\n") {
			p.b.WriteString("> " + l)
			p.newline()
		}
	case "li":
		p.line()
		mark := "- "
		if parent.Name.Local == "ol" {
			mark = strconv.Itoa(item) + ". "
		}
		p.b.WriteString(mark)
		p.broken = true // the mark is followed by no further space
		p.children(e)
		p.broken = false
		p.line()
	case "p", "ol", "ul":
		p.line()
		p.children(e)
		p.line()
	default:
		p.children(e)
	}
}

func (p *plain) link(e *xmltree.Element) {
	start := p.b.Len()
	p.children(e)
	href := e.Get("href")
	shown := strings.TrimSpace(p.b.String()[start:])
	if href == "" || shown == href || "mailto:"+shown == href || strings.TrimSuffix(href, "/") == shown {
		return
	}
	if shown != "" {
		href = "(" + href + ")"
	}
	p.space = true
	p.text(href)
}
