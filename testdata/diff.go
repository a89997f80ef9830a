package testdata

import (
	"strconv"
	"strings"
	"testing"
)

// EqualText compares two texts line by line and reports a difference as a diff.
// It returns whether they are equal.
func EqualText(t testing.TB, got, want string) bool {
	t.Helper()
	if got == want {
		return true
	}
	t.Errorf("differs (- wanted, + got):\n%s", Diff(want, got))
	return false
}

// Diff returns two texts as one, with "-" before the lines that only the first
// has and "+" before those that only the second has. Characters that cannot be
// seen are written as escapes, a line without LF at the end of a text is
// marked.
func Diff(from, to string) string {
	a, b := split(from), split(to)
	same := common(a, b)
	var out strings.Builder
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out.WriteString("  " + show(a[i]))
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && same[i+1][j] >= same[i][j+1]:
			out.WriteString("- " + show(a[i]))
			i++
		default:
			out.WriteString("+ " + show(b[j]))
			j++
		}
	}
	return out.String()
}

// split returns the lines of a text, each with its line end.
func split(s string) []string {
	var out []string
	for line := range strings.Lines(s) {
		out = append(out, line)
	}
	return out
}

// common returns the length of the longest common subsequence of a[i:] and
// b[j:] for all i and j.
func common(a, b []string) [][]int {
	n := make([][]int, len(a)+1)
	for i := range n {
		n[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				n[i][j] = n[i+1][j+1] + 1
			} else {
				n[i][j] = max(n[i+1][j], n[i][j+1])
			}
		}
	}
	return n
}

// show writes a line so that CR, tabs and other control characters are seen.
func show(line string) string {
	text, ended := strings.CutSuffix(line, "\n")
	var out strings.Builder
	for _, r := range text {
		if strconv.IsPrint(r) {
			out.WriteRune(r)
		} else {
			q := strconv.QuoteRune(r)
			out.WriteString(q[1 : len(q)-1])
		}
	}
	if !ended {
		out.WriteString(" (no line end)")
	}
	return out.String() + "\n"
}
