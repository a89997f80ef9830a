package testdata

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// A format is one of the three ways in which vectors are written down.
type format uint8

const (
	interworking format = iota // in., out., context, vary
	msrp                       // title, wire., expect.json
	simple                     // key: value lines, then documents
)

// A Section is a named part of an archive, with LF line ends as it stands
// there.
type Section struct{ Name, Text string }

// A Case is one vector. Its methods note what the test has asked for; what is
// left over in the end fails the test. A method that asks for something that
// is not there fails the test at once, except Has and those that say so.
type Case struct {
	ID    string // folder and file: "rfc7247/addr-s2x-ex1-percent-utf8.txtar"
	Name  string // the file without folder and extension
	Title string // the first line of a vector of the MSRP format, else ""
	Note  string // explanation for people, or ""

	t        *testing.T
	format   format
	sections []Section
	keys     []entry // lines of context, or of the head in the SIMPLE format
	vary     []entry // lines of vary, without values
	used     map[string]bool
}

// An entry is one line of a list that the test has to take note of.
type entry struct {
	key, value string
	used       bool
}

// Keys of the head of the SIMPLE format, and of expect.json, that explain and
// say nothing that a test could compare.
var (
	explainHead = []string{"id", "rule", "source", "verified", "why", "note", "convention"}
	explainJSON = []string{"source", "deviations"}
)

// Text returns a section as it stands, with LF line ends.
func (c *Case) Text(name string) string {
	c.t.Helper()
	i := c.index(name)
	if i < 0 {
		c.t.Fatalf("%s has no section %q", c.ID, name)
	}
	c.used[name] = true
	return c.sections[i].Text
}

// Wire returns a section as its octets are on the wire, with the line ends of
// its format and kind.
func (c *Case) Wire(name string) string {
	c.t.Helper()
	c.Text(name)
	return c.wire(name)
}

// Lines returns the lines of a section without those that are empty: the kinds
// in out.none, the facts in out.parse.
func (c *Case) Lines(name string) []string {
	c.t.Helper()
	return lines(c.Text(name))
}

// Has reports whether there is a section of that name. It does not count as
// having read it.
func (c *Case) Has(name string) bool { return c.index(name) >= 0 }

// Names returns the names of the sections that start with prefix, in the order
// of the file. It does not count as having read them.
func (c *Case) Names(prefix string) []string {
	var out []string
	for _, s := range c.sections {
		if strings.HasPrefix(s.Name, prefix) {
			out = append(out, s.Name)
		}
	}
	return out
}

// Value returns what the context, or the head of a SIMPLE vector, says under a
// key, and "" where it says nothing. A context line without ": " is a key whose
// value is "": see Says.
func (c *Case) Value(key string) string {
	v, _ := take(c.keys, key)
	return v
}

// Says reports whether the context, or the head of a SIMPLE vector, has a key,
// or a line without ": " that reads so.
func (c *Case) Says(key string) bool {
	_, ok := take(c.keys, key)
	return ok
}

// Vary reports whether any of the lines stands in the section vary, and takes
// note of all of them. A comparison that never looks at a field names its line
// all the same: that is how a line that nobody has thought of is found.
func (c *Case) Vary(lines ...string) bool {
	found := false
	for _, line := range lines {
		_, ok := take(c.vary, line)
		found = found || ok
	}
	return found
}

// JSON decodes expect.json into v, which must have a place for every key but
// source and deviations.
func (c *Case) JSON(v any) {
	c.t.Helper()
	c.Text("expect.json")
	if err := c.decode("expect.json", v); err != nil {
		c.t.Fatalf("%s: expect.json: %v", c.ID, err)
	}
}

// decode reads a JSON section without the keys that only explain.
func (c *Case) decode(name string, v any) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(c.sections[c.index(name)].Text), &all); err != nil {
		return err
	}
	for _, key := range explainJSON {
		delete(all, key)
	}
	rest, err := json.Marshal(all)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(rest))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// read makes a case of an archive.
func read(id string, a *txtar.Archive) (*Case, error) {
	c := &Case{ID: id, Name: base(id), used: map[string]bool{}}
	head := string(a.Comment)
	switch {
	case strings.HasPrefix(head, "id: "):
		c.format, c.keys = simple, entries(head)
		c.keys = slices.DeleteFunc(c.keys, func(e entry) bool { return slices.Contains(explainHead, e.key) })
	case strings.TrimSpace(head) != "":
		c.format, c.Title = msrp, strings.TrimSpace(head)
	}
	for _, f := range a.Files {
		if c.Has(f.Name) {
			return nil, fmt.Errorf("%s: section %s stands twice", id, f.Name)
		}
		c.add(Section{f.Name, string(f.Data)})
	}
	if len(c.sections) == 0 {
		return nil, fmt.Errorf("%s has no sections", id)
	}
	return c, nil
}

// add takes in a section: those that are lists go to their fields.
func (c *Case) add(s Section) {
	switch {
	case s.Name == "note":
		c.Note = s.Text
	case s.Name == "vary":
		for _, line := range lines(s.Text) {
			c.vary = append(c.vary, entry{key: line})
		}
	case s.Name == "context" && c.format == interworking:
		c.keys = append(c.keys, entries(s.Text)...)
	default:
		c.sections = append(c.sections, s)
	}
}

// left returns what nobody has asked for.
func (c *Case) left() []string {
	var out []string
	for _, s := range c.sections {
		if !c.used[s.Name] {
			out = append(out, "section "+s.Name)
		}
	}
	for _, e := range c.keys {
		if !e.used {
			out = append(out, fmt.Sprintf("key %q", e.key))
		}
	}
	for _, e := range c.vary {
		if !e.used {
			out = append(out, fmt.Sprintf("vary line %q", e.key))
		}
	}
	return out
}

// finish fails a test that has passed without reading the whole case.
func (c *Case) finish(t *testing.T) {
	if t.Failed() {
		return
	}
	for _, what := range c.left() {
		t.Errorf("%s: the test never asked for %s", c.ID, what)
	}
}

// index returns the place of a section, or -1.
func (c *Case) index(name string) int {
	return slices.IndexFunc(c.sections, func(s Section) bool { return s.Name == name })
}

// entries reads "key: value" lines; a line without a colon is a key alone.
func entries(text string) []entry {
	var out []entry
	for _, line := range lines(text) {
		key, value, _ := strings.Cut(line, ": ")
		out = append(out, entry{key: key, value: value})
	}
	return out
}

// take returns the value of the first entry of that key and marks every such
// entry as used.
func take(list []entry, key string) (value string, ok bool) {
	for i := range list {
		if list[i].key != key {
			continue
		}
		if !ok {
			value, ok = list[i].value, true
		}
		list[i].used = true
	}
	return value, ok
}

// lines returns the lines of a text, without those that are empty.
func lines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}
