package mapping

import (
	"strings"
	"testing"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/testdata"
)

// xhtml returns the XHTML-IM of an HTML text without its body tags.
func xhtml(t testing.TB, doc string) (body *xmltree.Element, inside string) {
	t.Helper()
	body, err := HTMLToXHTML(doc)
	if err != nil {
		t.Fatal(err)
	}
	inside = strings.TrimSuffix(strings.TrimPrefix(body.String(), "<body xmlns='http://www.w3.org/1999/xhtml'>"), "</body>")
	if len(body.Nodes) == 0 {
		inside = ""
	}
	return body, inside
}

// TestHTMLToXHTML: the profile of XEP-0071, section 7.8, and the plain text.
func TestHTMLToXHTML(t *testing.T) {
	rows := []struct{ name, doc, rich, plain string }{
		{"text", "Hi", "Hi", "Hi"},
		{"escapes", "a &lt;b&gt; &amp; &nbsp;c", "a &lt;b&gt; &amp; \u00A0c", "a <b> &  c"},
		{"white space", "a\n  b", "a\n  b", "a b"},
		{"paragraphs", "<p>a</p><p>b</p>", "<p>a</p><p>b</p>", "a\nb"},
		{"line break", "a<br>b", "a<br/>b", "a\nb"},
		{"equals", "<b>a</b><i>b</i><u>c</u><del>d</del><code>e</code>",
			"<strong>a</strong><em>b</em><span style='text-decoration: underline'>c</span><span style='text-decoration: line-through'>d</span><span style='font-family: monospace'>e</span>", "abcde"},
		{"unknown keeps its text", "<blink>a<font color=red>b</font></blink>", "ab", "ab"},
		{"script", "a<script>x</script><style>x</style><noscript>x</noscript><iframe src=x></iframe><svg><script>x</script></svg><math><mi>x</mi></math>b", "ab", "ab"},
		{"head", "<html><head><title>x</title><meta charset=utf-8></head><body>a</body></html>", "a", "a"},
		{"comment", "a<!-- x -->b", "ab", "ab"},
		{"events and classes", "<p onclick='x()' class=c id=i title=t>a</p>", "<p>a</p>", "a"},
		{"style", "<p style='color: #F00; position: fixed; background-color: url(x); font-weight: bold'>a</p>", "<p style='color: #F00; font-weight: bold'>a</p>", "a"},
		{"style that runs", "<p style='color: expression(alert(1)); color: rgb(1, 2, 3)'>a</p>", "<p style='color: rgb(1, 2, 3)'>a</p>", "a"},
		{"link", "<a href='https://a.example/?a=1&amp;b=2' target=_blank>here</a>", "<a href='https://a.example/?a=1&amp;b=2'>here</a>", "here (https://a.example/?a=1&b=2)"},
		{"bare link", "<a href='https://a.example/'>https://a.example</a>", "<a href='https://a.example/'>https://a.example</a>", "https://a.example"},
		{"mail", "<a href='mailto:a@b.example'>a@b.example</a>", "<a href='mailto:a@b.example'>a@b.example</a>", "a@b.example"},
		{"links that run", "<a href='javascript:x'>a</a><a href=' JAVA&#10;SCRIPT:x'>b</a><a href='data:text/html,x'>c</a><a href='vbscript:x'>d</a><a href='/x'>e</a>",
			"<a>a</a><a>b</a><a>c</a><a>d</a><a>e</a>", "abcde"},
		{"image", "<img src='https://a.example/i.png' alt='a cat' onerror=x>", "<a href='https://a.example/i.png'>a cat</a>", "a cat (https://a.example/i.png)"},
		{"image inside", "<img src='data:image/png;base64,xx' alt='a cat'><img src='cid:x'>", "a cat", "a cat"},
		{"image in a link", "<a href='https://a.example/'><img src='https://a.example/i.png' alt='a cat'></a>", "<a href='https://a.example/'>a cat</a>", "a cat (https://a.example/)"},
		{"lists", "<ol><li>a<li>b</ol><ul><li>c</ul>", "<ol><li>a</li><li>b</li></ol><ul><li>c</li></ul>", "1. a\n2. b\n- c"},
		{"quote", "x<blockquote>a<br>b</blockquote>c", "x<blockquote>a<br/>b</blockquote>c", "x\n> a\n> b\nc"},
		{"pre", "<pre>a\n  b</pre>", "<p style='font-family: monospace'>a<br/>\u00A0 b</p>", "a\n  b"},
		{"divisions", "<div>a</div><div><p>b</p></div>", "<p>a</p><p>b</p>", "a\nb"},
		{"nothing", "<script>x</script>", "", ""},
		{"XML's forbidden characters", "a\x0bb&#1;", "a\uFFFDb\uFFFD", "a\uFFFDb\uFFFD"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			body, rich := xhtml(t, row.doc)
			testdata.EqualText(t, rich, row.rich)
			testdata.EqualText(t, XHTMLToText(body), row.plain)
		})
	}
	if _, err := HTMLToXHTML(strings.Repeat("x", MaxHTML+1)); fault.KindOf(err) != fault.TooLarge {
		t.Errorf("too large: %v", err)
	}
}

// TestHTMLDepth: however deep the input, the output is not, and no word is lost.
func TestHTMLDepth(t *testing.T) {
	body, rich := xhtml(t, strings.Repeat("<span style='color: red'>", 300)+"deep"+strings.Repeat("</span>", 300))
	if n := strings.Count(rich, "<span"); n >= maxHTMLDepth || XHTMLToText(body) != "deep" {
		t.Errorf("%d levels: %s", n, rich)
	}
	if _, err := XHTMLToHTML(nested(1000)); err != nil {
		t.Error(err)
	}
}

func nested(n int) *xmltree.Element {
	e := xmltree.New(xep.NSXHTML, "body")
	top := e
	for range n {
		c := xmltree.New(xep.NSXHTML, "p")
		e.Add(c)
		e = c
	}
	return top
}

// checkSafe fails for anything outside the profile.
func checkSafe(t testing.TB, e *xmltree.Element, depth int) {
	t.Helper()
	attrs, known := profile[e.Name.Local]
	if depth == 0 {
		known = e.Name.Local == "body"
	}
	if !known || e.Name.Space != xep.NSXHTML || depth > maxHTMLDepth {
		t.Fatalf("element %v at depth %d", e.Name, depth)
	}
	for _, a := range e.Attr {
		low := strings.ToLower(a.Value)
		allowed := a.Name.Space == "" && strings.Contains(" "+strings.Join(attrs, " ")+" style ", " "+a.Name.Local+" ")
		if !allowed || strings.Contains(low, "javascript:") && a.Name.Local != "href" || strings.Contains(low, "url(") {
			t.Fatalf("attribute %v", a)
		}
		if scheme, _, _ := strings.Cut(low, ":"); a.Name.Local == "href" && !schemes[scheme] {
			t.Fatalf("link %q", a.Value)
		}
	}
	for c := range e.Elements() {
		checkSafe(t, c, depth+1)
	}
}

// FuzzHTML: no markup outside the profile survives, what is written is XML, and
// there and back again changes nothing more.
func FuzzHTML(f *testing.F) {
	f.Add("<p>I take thee at <b>thy</b> word.<script>alert(1)</script></p>")
	f.Add("<a href='javascript:x' onclick=x>a</a><img src=x onerror=y alt='z'>")
	f.Add("<svg><style><img src=x></style></svg><math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1&gt;'>")
	f.Add("<div style='color:red;background:url(x)'><pre>a\n b</pre><ol><li>x<ul><li>y</ul></ol></div>")
	f.Add("<noscript><p title='</noscript><img src=x>'>")
	f.Fuzz(func(t *testing.T, doc string) {
		body, err := HTMLToXHTML(doc)
		if err != nil {
			return
		}
		checkSafe(t, body, 0)
		XHTMLToText(body)
		if _, err := xmltree.ParseIn(body.Append(nil, ""), "", xmltree.Limits{}); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		written, err := XHTMLToHTML(body)
		if err != nil {
			return
		}
		again, err := HTMLToXHTML(written)
		if err != nil {
			return // longer by its escapes
		}
		checkSafe(t, again, 0)
	})
}
