package main

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A set holds the section numbers of one document: "4.1", "A.2", and its
// tables as "table 2".
type set map[string]bool

// writeSections prints the sections of all rfcNNNN.txt and xep-NNNN.xml in
// the directories, a document a line.
func writeSections(dirs []string, out io.Writer) error {
	if len(dirs) == 0 {
		return errors.New("sections: which directories?")
	}
	docs := map[string]set{}
	for _, dir := range dirs {
		files, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				return err
			}
			if m := rfcFile.FindStringSubmatch(f.Name()); m != nil {
				docs["RFC "+m[1]] = rfcSections(string(b))
			} else if m := xepFile.FindStringSubmatch(f.Name()); m != nil {
				if docs["XEP-"+m[1]], err = xepSections(b); err != nil {
					return fmt.Errorf("%s: %w", f.Name(), err)
				}
			}
		}
	}
	for _, doc := range slices.Sorted(maps.Keys(docs)) {
		if len(docs[doc]) > 0 { // RFC 2782 has no numbers
			fmt.Fprintf(out, "%s: %s\n", doc, docs[doc])
		}
	}
	return nil
}

// String returns the numbers in the order of the document, tables last, with
// a hyphen for the space in "table 2".
func (s set) String() string {
	list := slices.SortedFunc(maps.Keys(s), compareNumbers)
	return strings.ReplaceAll(strings.ReplaceAll(strings.Join(list, "\n"), " ", "-"), "\n", " ")
}

// compareNumbers orders 4.2 before 4.10 before A.1 before "table 1".
func compareNumbers(a, b string) int {
	return slices.CompareFunc(strings.FieldsFunc(a, isSeparator), strings.FieldsFunc(b, isSeparator), func(x, y string) int {
		nx, errX := strconv.Atoi(x)
		ny, errY := strconv.Atoi(y)
		if errX == nil && errY == nil {
			return cmp.Compare(nx, ny)
		}
		return strings.Compare(x, y)
	})
}

func isSeparator(r rune) bool { return r == '.' || r == ' ' }

var (
	rfcFile = regexp.MustCompile(`^rfc(\d{4})\.txt$`)
	xepFile = regexp.MustCompile(`^xep-(\d{4})\.xml$`)

	// Headings start in the first column; in tables of contents they may be
	// indented and end in dots and a page number. RFC 2779 numbers its
	// paragraphs like sections.
	rfcHeading  = regexp.MustCompile(`(?m)^(\d+(?:\.\d+)*|[A-Z](?:\.\d+)+)\.? +\S`)
	rfcContents = regexp.MustCompile(`(?m)^ +(\d+(?:\.\d+)*|[A-Z](?:\.\d+)+)\.? +\S.*\. *\.[. ]*\d+$`)
	rfcParas    = regexp.MustCompile(`(?m)^   (\d+(?:\.\d+){2,})\.? +[A-Z]`)
	rfcAppendix = regexp.MustCompile(`(?mi)^ *appendix ([A-Z])(?:[.:]| -|$)`)
	rfcTable    = regexp.MustCompile(`(?m)^ +Table (\d+)[:.]`)
)

// rfcSections finds the section numbers in the text of an RFC. What looks like
// a heading but does not continue the count is none.
func rfcSections(text string) set {
	found := set{}
	for _, re := range []*regexp.Regexp{rfcHeading, rfcContents, rfcParas, rfcAppendix} {
		for _, m := range re.FindAllStringSubmatch(text, -1) {
			found[strings.ToUpper(m[1])] = true
		}
	}
	for number := range found {
		if !continues(found, number) {
			delete(found, number)
		}
	}
	for _, m := range rfcTable.FindAllStringSubmatch(text, -1) {
		found["table "+m[1]] = true
	}
	return found
}

// continues reports whether the numbers before it and above it are there too.
func continues(found set, number string) bool {
	above, last := "", number
	if i := strings.LastIndexByte(number, '.'); i >= 0 {
		above, last = number[:i], number[i+1:]
		if !found[above] || !continues(found, above) {
			return false
		}
		above += "."
	}
	n, err := strconv.Atoi(last)
	if err != nil || n <= 1 {
		return true // a letter, or the first of its kind
	}
	before := above + strconv.Itoa(n-1)
	return found[before] && continues(found, before)
}

// xepSections counts the section elements of a XEP as its rendering does.
func xepSections(text []byte) (set, error) {
	d := xml.NewDecoder(bytes.NewReader(text))
	d.Strict = false // XEPs use entities of a DTD that is not here
	found := set{}
	var path []int // the number of the last section on each level
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		start, ok := tok.(xml.StartElement)
		level, isSection := strings.CutPrefix(start.Name.Local, "section")
		n, err := strconv.Atoi(level)
		if !ok || !isSection || err != nil || n < 1 || n > len(path)+1 {
			continue
		}
		if n > len(path) {
			path = append(path, 0)
		}
		path = path[:n]
		path[n-1]++
		found[dotted(path)] = true
	}
}

// dotted writes 4, 1 as 4.1.
func dotted(path []int) string {
	var out []string
	for _, n := range path {
		out = append(out, strconv.Itoa(n))
	}
	return strings.Join(out, ".")
}
