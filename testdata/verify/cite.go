package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A gap is white space that may run over the end of a comment line.
const gap = `(?:[ \t]+|[ \t]*\n[ \t]*(?://[ \t]*)?)`

// A number is that of a section or appendix.
const number = `(\d+(?:\.\d+)*|[A-Z](?:\.\d+)+|[A-Z])\b`

var (
	// "RFC 7572, section 4", "XEP-0045, sections 7.1 and 7.2"
	citation = regexp.MustCompile(`\b(RFC \d+|XEP-\d{4}),?` + gap + `(sections?|[Aa]ppendix|[Aa]ppendices|tables?|§§?)(?:` + gap + `)?` + number)

	// what may follow: " and 5", ", table 2", ", sections 7 and 8"
	another = regexp.MustCompile(`^(?:,` + gap + `(?:and` + gap + `)?|` + gap + `(?:and|or|to)` + gap + `)(?:(sections?|appendix|appendices|tables?)` + gap + `)?` + number)
)

// A cite is one section that a source names.
type cite struct {
	doc, section string
	offset       int // where in the text
}

// cites finds what a text cites.
func cites(text string) []cite {
	var out []cite
	for _, m := range citation.FindAllStringSubmatchIndex(text, -1) {
		doc, word, end := text[m[2]:m[3]], text[m[4]:m[5]], m[1]
		out = append(out, cite{doc, section(word, text[m[6]:m[7]]), m[0]})
		for {
			n := another.FindStringSubmatchIndex(text[end:])
			if n == nil {
				break
			}
			next := text[end+n[4] : end+n[5]]
			if n[2] >= 0 {
				word = text[end+n[2] : end+n[3]]
			} else if !isPlural(word) || len(next) == 1 && next[0] >= 'A' {
				break // "section 4 and 2 others", "sections 4, 5 and A peer"
			}
			out = append(out, cite{doc, section(word, next), m[0]})
			end += n[1]
		}
	}
	return out
}

// section returns a number as sections.txt lists it.
func section(word, number string) string {
	if strings.HasPrefix(word, "table") {
		return "table-" + number
	}
	return number
}

// isPlural reports whether a list may follow the word.
func isPlural(word string) bool {
	return strings.HasSuffix(word, "s") || word == "§§"
}

// citations returns the citations in the sources below root that lead nowhere.
func citations(root string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(root, sectionsFile))
	if err != nil {
		return nil, err
	}
	known := parseSections(string(b))
	var faults []string
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at, _ := filepath.Rel(root, path) // path is below root
		if d.IsDir() {
			if at == ".git" || at == "bin" || at == filepath.FromSlash(vectorsDir) {
				return filepath.SkipDir
			}
			return nil
		}
		if ext := filepath.Ext(path); ext != ".go" && ext != ".txtar" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		faults = append(faults, wrongCites(at, string(text), known)...)
		return nil
	})
	return faults, err
}

// wrongCites returns what a source cites and no document has.
func wrongCites(file, text string, known map[string]set) []string {
	var out []string
	for _, c := range cites(text) {
		line := 1 + strings.Count(text[:c.offset], "\n")
		switch sections, ok := known[c.doc]; {
		case !ok:
			out = append(out, fmt.Sprintf("%s:%d: %s is not in %s: cite it without a section", file, line, c.doc, sectionsFile))
		case !sections[c.section]:
			out = append(out, fmt.Sprintf("%s:%d: %s has no section %s", file, line, c.doc, c.section))
		}
	}
	return out
}

// parseSections reads what writeSections has written.
func parseSections(text string) map[string]set {
	known := map[string]set{}
	for line := range strings.Lines(text) {
		doc, list, _ := strings.Cut(strings.TrimSpace(line), ": ")
		s := set{}
		for f := range strings.FieldsSeq(list) {
			s[f] = true
		}
		known[doc] = s
	}
	return known
}
