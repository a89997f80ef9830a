package testdata

import (
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// parse makes a case of text, for tests of the loader itself.
func parse(t *testing.T, text string) *Case {
	t.Helper()
	c, err := read("x/case.txtar", txtar.Parse([]byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	c.t = t
	return c
}

// TestCorpus reads every vector; what the loader makes of a SIP section must
// have the length that its Content-Length says.
func TestCorpus(t *testing.T) {
	names, err := fs.Glob(vectors, "vectors/*/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatal("no vectors", err)
	}
	bodies := 0
	for _, name := range names {
		c, err := read(name, archive(t, vectors, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if c.format != interworking {
			continue // lengths there are as the RFC prints them
		}
		for _, s := range c.sections {
			head, body, whole := strings.Cut(c.wire(s.Name), "\r\n\r\n")
			_, length, found := strings.Cut(head, "Content-Length: ")
			if kindOf(s.Name) != "sip" {
				continue
			}
			if length, _, _ = strings.Cut(length, "\r\n"); !whole || !found || length != strconv.Itoa(len(body)) {
				t.Errorf("%s: %s: Content-Length %q, body of %d", name, s.Name, length, len(body))
			}
			if body != "" {
				bodies++
			}
		}
	}
	if bodies < 20 {
		t.Errorf("only %d SIP sections with a body: the test looks at nothing", bodies)
	}
}

// TestWire holds one row for each rule on line ends.
func TestWire(t *testing.T) {
	const (
		inter = ""
		plain = "RFC 4975, section 1: title\n"
		head  = "id: X-1\nsource: RFC 3428, section 10\n\n"
	)
	for _, row := range []struct{ head, section, text, want string }{
		{inter, "in.sip", "A: 1\n\nx\n", "A: 1\r\n\r\nx"},
		{inter, "in.sip", "A: 1\n\n", "A: 1\r\n\r\n"},
		{inter, "in.cpim", "A: 1\n\nx\ny\n", "A: 1\r\n\r\nx\r\ny"},
		{inter, "in.mime", "A: 1\n\nx\n\n", "A: 1\r\n\r\nx\r\n"},
		{inter, "out.1.msrp", "a\nb\n", "a\r\nb\r\n"},
		{inter, "in.xmpp", "<a>\n</a>\n", "<a>\n</a>\n"},
		{inter, "in.uri", "sip:a@b\n", "sip:a@b"},
		{plain, "wire.msrp", "a\nb\n", "a\r\nb\r\n"},
		{plain, "wire.sip", "A: 1\n\n", "A: 1\r\n\r\n"},
		{plain, "reply.http", "A: 1\n\n", "A: 1\r\n\r\n"},
		{plain, "wire.cpim", "A: 1\n\nx\n", "A: 1\r\n\r\nx"},
		{plain, "wire.xml", "<a>\n</a>\n", "<a>\n</a>\n"},
		{plain, "wire.script", "fin\n", "fin\n"},
		{plain, "1.xml", "<a/>\n", "<a/>\n"},
		{head, "F1-message.sip", "A: 1\n\nx\n", "A: 1\r\n\r\nx"},
		{head, "F2-200.sip", "A: 1\n\n", "A: 1\r\n\r\n"},
		{head, "doc.xml", "<a>\n</a>\n", "<a>\n</a>\n"},
	} {
		c := parse(t, row.head+"-- "+row.section+" --\n"+row.text)
		if got := c.Wire(row.section); got != row.want {
			t.Errorf("%q %s: %q, want %q", row.head, row.section, got, row.want)
		}
	}
}

// TestLeft takes note of some parts of a case; the others are reported.
func TestLeft(t *testing.T) {
	c := parse(t, "-- context --\nscheme: im\nto: a@b.example\na line alone\n-- in.sip --\nx\n-- out.none --\nxmpp\n"+
		"-- vary --\nVia\nTo: tag\n-- note --\nfor people\n")
	want := []string{"section in.sip", "section out.none", `key "scheme"`, `key "to"`, `key "a line alone"`,
		`vary line "Via"`, `vary line "To: tag"`}
	if got := c.left(); !slices.Equal(got, want) {
		t.Errorf("untouched: %q", got)
	}
	if !c.Has("in.sip") || c.Has("in.xmpp") || !slices.Equal(c.Names("out."), []string{"out.none"}) || c.Names("note") != nil {
		t.Error("wrong sections")
	}
	if got := c.left(); !slices.Equal(got, want) {
		t.Errorf("Has and Names count as reading: %q", got)
	}
	if c.Value("scheme") != "im" || c.Value("other") != "" || !c.Says("a line alone") || c.Says("a line") {
		t.Error("wrong context")
	}
	if !c.Vary("CSeq: number", "Via") || c.Vary("Max-Forwards") {
		t.Error("wrong vary lines")
	}
	if got := c.Lines("out.none"); !slices.Equal(got, []string{"xmpp"}) {
		t.Errorf("out.none: %q", got)
	}
	if got, want := c.left(), []string{"section in.sip", `key "to"`, `vary line "To: tag"`}; !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
	c.Wire("in.sip")
	c.Vary("To: tag")
	c.Value("to")
	if got := c.left(); got != nil {
		t.Errorf("all read, but left %q", got)
	}
}

// TestHead knows which keys of the SIMPLE format a test must look at.
func TestHead(t *testing.T) {
	c := parse(t, "id: X-1\nrule: R-1\nsource: RFC 5261\nverified: libxml2\ncompare: text\nerror: invalid\nwhy: so\n\n-- a.xml --\n<a/>\n")
	c.Text("a.xml")
	if got, want := c.left(), []string{`key "compare"`, `key "error"`}; !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
	if c.Value("error") != "invalid" || c.Value("source") != "" {
		t.Error("wrong values")
	}
}

// TestJSON leaves out what explains and reads the rest.
func TestJSON(t *testing.T) {
	c := parse(t, "RFC 3994 section 3: one\n-- expect.json --\n{\"source\": \"x\", \"deviations\": [], \"state\": \"active\", \"refresh\": 60}\n")
	var v struct {
		State   string
		Refresh int
	}
	c.JSON(&v)
	if v.State != "active" || v.Refresh != 60 || c.left() != nil || c.Title != "RFC 3994 section 3: one" {
		t.Errorf("got %+v, left %q", v, c.left())
	}
	if err := c.decode("expect.json", new(struct{ State string })); err == nil || !strings.Contains(err.Error(), "refresh") {
		t.Errorf("a key that nobody knows: %v", err)
	}
}

// TestRead refuses archives that are no case.
func TestRead(t *testing.T) {
	for _, text := range []string{"", "only a title\n", "-- in.sip --\n-- in.sip --\n"} {
		if _, err := read("x/y.txtar", txtar.Parse([]byte(text))); err == nil {
			t.Errorf("%q is a case", text)
		}
	}
}

// TestSeeds finds sections of one kind over all folders.
func TestSeeds(t *testing.T) {
	uris := Seeds("uri")
	if !slices.Contains(uris, "sip:f%C3%BC@sip.example") || len(uris) < 50 {
		t.Errorf("%d URIs", len(uris))
	}
	if Seeds("nothing") != nil {
		t.Error("seeds of an unknown kind")
	}
}

// TestScenes reads a scene and would write it back as it was.
func TestScenes(t *testing.T) {
	ran := 0
	Scenes(t, "self", func(t *testing.T, s *Scene) {
		ran++
		var names []string
		for _, turn := range s.Turns {
			names = append(names, turn.Name)
		}
		if want := []string{"juliet sends", "48m0s passes", "romeo receives"}; !slices.Equal(names, want) {
			t.Errorf("turns %q", names)
		}
		b, err := fs.ReadFile(scenes, s.file)
		if err != nil {
			t.Fatal(err)
		}
		EqualText(t, string(txtar.Format(s.archive())), string(b))
		Golden(t, s.file, string(b))
	})
	if ran != 1 {
		t.Errorf("%d scenes", ran)
	}
}

// TestDiff writes what differs, and makes line ends visible.
func TestDiff(t *testing.T) {
	got := Diff("a\nb\r\nc\nd\n", "a\nb\nc\ne\td")
	if want := "  a\n- b\\r\n+ b\n  c\n- d\n+ e\\td (no line end)\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if !EqualText(t, "a", "a") || Diff("", "") != "" {
		t.Error("equal texts differ")
	}
}
