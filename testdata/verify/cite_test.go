package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// rfc is put together at run time where a citation is wrong on purpose: the
// checker reads this file too.
const rfc = "RFC" + " "

// TestCites holds one row for each way in which people cite.
func TestCites(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{rfc + "9901, section 4", "9901/4"},
		{rfc + "9901 section 13.7.1.4.", "9901/13.7.1.4"},
		{rfc + "9901, sections 4 and 5", "9901/4 9901/5"},
		{rfc + "9901, sections 4.1, 4.2 and 5, say", "9901/4.1 9901/4.2 9901/5"},
		{rfc + "9901, section 4.1, table 2", "9901/4.1 9901/table-2"},
		{rfc + "9901, tables 2 and 3", "9901/table-2 9901/table-3"},
		{rfc + "9901, section 4, and section 6", "9901/4 9901/6"},
		{rfc + "9901, section 4 and 2 more", "9901/4"},
		{rfc + "9901, sections 4, 5 and A peer", "9901/4 9901/5"},
		{rfc + "9901, appendix A.1", "9901/A.1"},
		{rfc + "9901, appendix B", "9901/B"},
		{rfc + "9901 §6.3", "9901/6.3"},
		{"// as " + rfc + "9901,\n\t// section 4, and\n\t// table 1", "9901/4 9901/table-1"},
		{rfc + "9901, section 4; " + rfc + "9902, section 5", "9901/4 9902/5"},
		{rfc + "9901, examples 4 and 5; section 6", ""},
	} {
		var got []string
		for _, c := range cites(row.text) {
			got = append(got, strings.TrimPrefix(c.doc, rfc)+"/"+c.section)
		}
		if strings.Join(got, " ") != row.want {
			t.Errorf("%q: %q, want %q", row.text, got, row.want)
		}
	}
}

// TestWrongCites names file, line and what is wrong.
func TestWrongCites(t *testing.T) {
	known := parseSections(rfc + "9901: 1 2 2.1 table-1\nXEP-9902: 1\n")
	text := "package p\n\n// F is " + rfc + "9901, section 2.1, table 1, but not\n// " + rfc + "9901, section 2.2.\n// XEP-" + "9902, section 2; " + rfc + "9903, section 1\n"
	want := []string{
		"p.go:4: RFC 9901 has no section 2.2",
		"p.go:5: XEP-9902 has no section 2",
		"p.go:5: RFC 9903 is not in testdata/sections.txt: cite it without a section",
	}
	if got := wrongCites("p.go", text, known); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestRFCSections tells headings from what looks like one.
func TestRFCSections(t *testing.T) {
	text := `
   1.  Introduction . . . . . . . . . . 3
   2.  Words  . . . . . . . . . . . . . 4
     2.1.  More . . . . . . . . . . . . 4
   Appendix B.  Thanks  . . . . . . . . 9

1.  Introduction

   3. is a list item
1300 bytes at the start of a line

2 Words
2.1 More
2.3 after a hole

   2.1.1. A numbered paragraph
   2.9.1. After a hole

   Table 2: of things

Appendix A. Grammar
A.1.  Core
4.  A hole before
`
	if got, want := rfcSections(text).String(), "1 2 2.1 2.1.1 A A.1 B table-2"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestXEPSections counts as the rendering of a XEP does.
func TestXEPSections(t *testing.T) {
	text := `<?xml version='1.0'?><!DOCTYPE xep SYSTEM 'xep.dtd' [ <!ENTITY % ents SYSTEM 'xep.ent'> %ents; ]>
<xep><header><title>T</title>&LEGALNOTICE;</header>
<section1 topic='a'><p>&xep0030;</p></section1>
<section1 topic='b'><section2 topic='c'><section3 topic='d'/></section2><section2 topic='e'/></section1>
<section1 topic='f'><section2 topic='g'/></section1></xep>`
	got, err := xepSections([]byte(text))
	if want := "1 2 2.1 2.1.1 2.2 3 3.1"; err != nil || got.String() != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

// TestWriteSections prints a document a line, and reads it again.
func TestWriteSections(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "rfc9901.txt", "\n1 One\n2 Two\n10 Hole\n")
	put(t, dir, "xep-9902.xml", "<xep><section1/></xep>")
	put(t, dir, "rfc9903.txt", "no numbers\n")
	put(t, dir, "other.txt", "1 One\n")
	var out bytes.Buffer
	if err := command([]string{"sections", dir}, nil, &out); err != nil {
		t.Fatal(err)
	}
	if want := rfc + "9901: 1 2\nXEP-9902: 1\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	if known := parseSections(out.String()); !known["XEP-9902"]["1"] || len(known) != 2 {
		t.Errorf("read again: %v", known)
	}
}

// TestStatic runs over a small project in which each check finds one fault,
// and over the same one mended.
func TestStatic(t *testing.T) {
	root := t.TempDir()
	put(t, root, ledgerFile, "MSG-01 yes p.TestA\nMSG-02 partly no markers\nMSG-02 no reason\nERR-01 no later\n")
	put(t, root, sectionsFile, rfc+"9901: 1\n")
	put(t, root, readmeFile, "# P\n"+featuresBegin+"old\n"+featuresEnd+"end\n")
	put(t, root, "p/p.go", "// "+rfc+"9901, section 2\n")
	put(t, root, "testdata/talk/s.txtar", rfc+"9901, section 3: a scene\n")
	put(t, root, vectorsDir+"/rfc9901/v.txtar", rfc+"9901, section 4: not ours to mend\n")
	var out bytes.Buffer
	if err := static(root, &out); err != errFaults {
		t.Error(err)
	}
	want := `testdata/ledger.txt:3: MSG-02 stands in line 2 already
p/p.go:1: RFC 9901 has no section 2
testdata/talk/s.txtar:1: RFC 9901 has no section 3
README.md: the feature table is not up to date: make features
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	put(t, root, ledgerFile, "MSG-01 yes p.TestA\nMSG-02 partly no markers\nERR-01 no later\n")
	put(t, root, sectionsFile, rfc+"9901: 1 2 3\n")
	if err := writeFeatures(root); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := static(root, &out); err != nil || out.Len() > 0 {
		t.Errorf("mended: %v\n%s", err, out.String())
	}
}

// TestTable counts by family, in the order of the titles.
func TestTable(t *testing.T) {
	rows, _ := parseLedger("MSG-01 yes p.TestA\nMSG-02 partly no markers\nERR-01 no later\nMSG-03 yes p.TestA\n")
	got, err := replaced("a\n"+featuresBegin+"old\n"+featuresEnd+"b\n", table(rows))
	want := "a\n" + featuresBegin + `
| requirements | | done | partly | not |
|---|---|--:|--:|--:|
| Errors, both ways | ERR | 0 | 0 | 1 |
| Pager messages, typing and receipts in them | MSG | 2 | 1 | 0 |

- MSG-02 lacks: no markers

` + featuresEnd + "b\n"
	if err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
	if _, err := replaced("no markers", ""); err == nil {
		t.Error("a README without markers")
	}
}
