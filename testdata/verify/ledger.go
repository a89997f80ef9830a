package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A row is one line of the ledger: what became of a requirement.
type row struct {
	ID    string
	State string // yes, partly or no
	Rest  string // tests, what is missing, or the reason
	Line  int
}

var (
	requirement = regexp.MustCompile(`^([A-Z][A-Z0-9]*)-\d+[a-z]?$`)
	testName    = regexp.MustCompile(`^([\w./-]+?)\.((?:Test|Fuzz|Example)\w*(?:/\S+)?)$`)
)

// readLedger reads the ledger below root, and returns what is wrong in it.
func readLedger(root string) (rows []row, faults []string, err error) {
	b, err := os.ReadFile(filepath.Join(root, ledgerFile))
	if err != nil {
		return nil, nil, err
	}
	rows, faults = parseLedger(string(b))
	return rows, faults, nil
}

// parseLedger reads the lines of a ledger. A "#" starts a comment.
func parseLedger(text string) (rows []row, faults []string) {
	seen := map[string]int{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		id, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		state, rest, _ := strings.Cut(strings.TrimSpace(rest), " ")
		r := row{id, state, strings.TrimSpace(rest), n}
		if id == "" {
			continue
		}
		switch what := r.fault(); {
		case what != "":
			faults = append(faults, fmt.Sprintf("%s:%d: %s", ledgerFile, n, what))
		case seen[id] > 0:
			faults = append(faults, fmt.Sprintf("%s:%d: %s stands in line %d already", ledgerFile, n, id, seen[id]))
		default:
			seen[id] = n
			rows = append(rows, r)
		}
	}
	return rows, faults
}

// fault says what is wrong in the row by itself.
func (r row) fault() string {
	m := requirement.FindStringSubmatch(r.ID)
	switch {
	case m == nil:
		return fmt.Sprintf("%q is no requirement", r.ID)
	case title(m[1]) == "":
		return fmt.Sprintf("no title for %s in testdata/verify/features.go", m[1])
	case r.State != "yes" && r.State != "partly" && r.State != "no":
		return fmt.Sprintf("%s: want yes, partly or no, not %q", r.ID, r.State)
	case r.Rest == "":
		return r.ID + ": want the tests, what is missing, or the reason"
	}
	for _, t := range r.tests() {
		if !testName.MatchString(t) {
			return fmt.Sprintf("%s: %q is not PACKAGE.TEST", r.ID, t)
		}
	}
	return ""
}

// tests returns the tests that prove a row, and none of a row that is not
// done.
func (r row) tests() []string {
	if r.State != "yes" {
		return nil
	}
	var out []string
	for t := range strings.SplitSeq(r.Rest, ",") {
		out = append(out, strings.TrimSpace(t))
	}
	return out
}

// prefix returns the family of the requirement: MSG of MSG-07.
func (r row) prefix() string { return requirement.FindStringSubmatch(r.ID)[1] }

// unproved returns what the ledger calls done although its test did not run and
// pass.
func (r *run) unproved(rows []row) []string {
	var out []string
	for _, row := range rows {
		for _, t := range row.tests() {
			m := testName.FindStringSubmatch(t)
			state, ran := r.results[name{m[1], m[2]}]
			if !ran {
				state = "not run"
			}
			if state != "pass" {
				out = append(out, fmt.Sprintf("%s:%d: %s: %s: %s", ledgerFile, row.Line, row.ID, t, state))
			}
		}
	}
	return out
}
