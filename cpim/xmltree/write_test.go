package xmltree_test

import (
	"encoding/xml"
	"strings"
	"testing"
	"unicode/utf8"

	"cpimgate/cpim/xmltree"
	"cpimgate/testdata"
)

// mustParse reads a document that is one.
func mustParse(t *testing.T, s string) *xmltree.Element {
	t.Helper()
	e, err := xmltree.Parse([]byte(s), xmltree.Documents)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return e
}

func TestAppend(t *testing.T) {
	e := xmltree.New("u:x", "a", xmltree.Text("<&>'\"\r\n\t]]>"), xmltree.New("u:x", "b"), xmltree.New("", "c", xmltree.New("u:y", "d")))
	e.With("p", "<&>'\"\r\n\t").With("empty", "").WithLang("en").WithLang("")
	e.Attr = append(e.Attr, xml.Attr{Name: xml.Name{Space: "u:z", Local: "q"}, Value: "1"}, xml.Attr{Name: xml.Name{Space: "u:z", Local: "r"}, Value: "2"})
	want := `<a xmlns='u:x' p='&lt;&amp;&gt;&apos;&quot;&#xD;&#xA;&#x9;' xml:lang='en' xmlns:ns2='u:z' ns2:q='1' ns2:r='2'>` +
		"&lt;&amp;&gt;'\"&#xD;\n\t]]&gt;<b/><c xmlns=''><d xmlns='u:y'/></c></a>"
	if got := e.String(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if d := xmltree.Diff(e, mustParse(t, want)); d != "" {
		t.Error(d)
	}
}

// TestClean: what XML cannot carry is replaced, and nothing else is touched.
func TestClean(t *testing.T) {
	for s, want := range map[string]string{
		"plain é 😀\t\r\n": "plain é 😀\t\r\n",
		"\x00a\x1fb\x7f":  "\uFFFDa\uFFFDb\x7f",
		"\xffé":           "\uFFFDé",
		"\uFFFD":          "\uFFFD",
		"\uFFFE\uFFFF":    "\uFFFD\uFFFD",
		"\xed\xa0\x80":    "\uFFFD\uFFFD\uFFFD",
	} {
		if got := xmltree.Clean(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
		if got := mustParse(t, "<a b='"+xmltree.Escape(s)+"'/>").Get("b"); got != want {
			t.Errorf("%q escaped and read: %q", s, got)
		}
	}
}

func TestDiff(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"<a b='1' c='2'/>", `<a c="2" b="1"></a>`, true},
		{"<a><b/> <c/></a>", "<a> <b/><c/> </a>", true},
		{"<a>x<b/></a>", "<a>x <b/></a>", false},
		{"<a><b/>x </a>", "<a> <b/>x </a>", false},
		{"<a> </a>", "<a/>", false},
		{"<a>x</a>", "<a>x </a>", false},
		{"<a>x&amp;y</a>", "<a>x<![CDATA[&]]>y</a>", true},
		{"<a b='1'/>", "<a b='2'/>", false},
		{"<a b='1'/>", "<a/>", false},
		{"<a b='1'/>", "<a b='1' c=''/>", false},
		{"<a xmlns='u:x'/>", "<a xmlns='u:y'/>", false},
		{"<a xmlns:p='u:x' p:b='1'/>", "<a b='1'/>", false},
		{"<a><b/><c/></a>", "<a><c/><b/></a>", false},
		{"<a><b/></a>", "<a><b/><b/></a>", false},
		{"<a><b>x</b></a>", "<a><b>y</b></a>", false},
		{"<a>b</a>", "<a><b/></a>", false},
	} {
		a, b := mustParse(t, c.a), mustParse(t, c.b)
		if xmltree.Equal(a, b) != c.same || xmltree.Equal(b, a) != c.same {
			t.Errorf("%s against %s: %q", c.a, c.b, xmltree.Diff(a, b))
		}
		if !xmltree.Equal(a, a) || xmltree.Equal(a, nil) || xmltree.Equal(nil, a) || !xmltree.Equal(nil, nil) {
			t.Errorf("%s against itself and nothing", c.a)
		}
	}
	if got := xmltree.Diff(mustParse(t, "<a><b><c>x</c></b></a>"), mustParse(t, "<a><b><c>y</c></b></a>")); got != `a/b/c/text "x" against "y"` {
		t.Errorf("says %s", got)
	}
}

// FuzzParse: what the gate accepts we print, the gate accepts it again as the
// same tree, and the standard library finds it well-formed. What the gate must
// refuse is not in it.
func FuzzParse(f *testing.F) {
	for _, kind := range []string{"xmpp", "xml", "pidf"} {
		for _, s := range testdata.Seeds(kind) {
			f.Add(s)
		}
	}
	for _, s := range []string{"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "<a xmlns:p='u' p:b='1'><?x?><!-- --><p:1/></a>", "<a>&#xD800;&#65;]]&gt;<![CDATA[<]]></a>", stream} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := xmltree.Parse([]byte(s), xmltree.Documents)
		if err != nil {
			return
		}
		if !utf8.ValidString(s) {
			t.Fatalf("%q is accepted and no UTF-8", s)
		}
		if i := strings.Index(s, "<!"); i >= 0 && !strings.HasPrefix(s[i:], "<![CDATA[") {
			t.Fatalf("%q is accepted with a declaration or comment", s)
		}
		printed := e.String()
		again, err := xmltree.Parse([]byte(printed), xmltree.Limits{})
		if err != nil {
			t.Fatalf("%q is accepted and %q, which is its print, is not: %v", s, printed, err)
		}
		if again.String() != printed {
			t.Fatalf("%q printed is %q, read and printed %q", s, printed, again)
		}
		if d := xmltree.Diff(e, again); d != "" {
			t.Fatalf("%q printed is another tree: %s", s, d)
		}
		if err := xml.Unmarshal([]byte(printed), new(struct{})); err != nil {
			t.Fatalf("%q: %v", printed, err)
		}
	})
}

// FuzzText: every text and attribute value comes back as Clean leaves it.
func FuzzText(f *testing.F) {
	f.Add("a\r\n\t<&>'\"]]>\x00\xff\uFFFE😀")
	f.Fuzz(func(t *testing.T, s string) {
		want := xmltree.New("", "a", xmltree.Text(xmltree.Clean(s))).With("b", xmltree.Clean(s))
		got, err := xmltree.Parse([]byte(xmltree.New("", "a", xmltree.Text(s)).With("b", s).String()), xmltree.Limits{})
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if got.Text() != want.Text() || got.Get("b") != want.Get("b") {
			t.Fatalf("%q came back as %q and %q", s, got.Text(), got.Get("b"))
		}
	})
}
