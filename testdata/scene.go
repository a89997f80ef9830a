package testdata

import (
	"flag"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// update is the flag -update of every test that imports this package.
var update = flag.Bool("update", false, "rewrite golden files and the expectations of scenes")

// A Scene is a story told in turns: "juliet sends", "48m0s passes", "romeo
// receives".
type Scene struct {
	Name  string // the file without folder and extension
	Title string // what it proves, with its citation: all before the first turn
	Turns []Section

	file string // below testdata
}

// cited finds the citation that a scene opens with: a specification, a
// decision, or a requirement.
var cited = regexp.MustCompile(`\bRFC \d+, |\bXEP-\d{4}\b|\b[A-Z]+[A-Z0-9]*-\d+\b`)

// Scenes runs fn as a subtest for every scene of a topic, in the order of
// their names. It fails where there is none, and for a scene that does not
// open with a citation.
func Scenes(t *testing.T, topic string, fn func(t *testing.T, s *Scene)) {
	t.Helper()
	for _, name := range list(t, scenes, topic, "*") {
		t.Run(base(name), func(t *testing.T) {
			t.Attr("scene", name)
			s := scene(name, archive(t, scenes, name))
			if first, _, _ := strings.Cut(s.Title, "\n"); !cited.MatchString(first) {
				t.Fatalf("%s: the first line cites nothing: %q", name, first)
			}
			fn(t, s)
		})
	}
}

// SceneNames returns the names of the scenes of a topic.
func SceneNames(t *testing.T, topic string) []string {
	t.Helper()
	names := list(t, scenes, topic, "*")
	for i := range names {
		names[i] = base(names[i])
	}
	return names
}

// scene makes a scene of an archive.
func scene(name string, a *txtar.Archive) *Scene {
	s := &Scene{Name: base(name), Title: strings.TrimSpace(string(a.Comment)), file: name}
	for _, f := range a.Files {
		s.Turns = append(s.Turns, Section{f.Name, string(f.Data)})
	}
	return s
}

// Updating reports whether the run is to rewrite expectations (flag -update).
// The diff is the review.
func Updating() bool { return *update }

// Save writes the scene back to its file, for a run with -update.
func (s *Scene) Save(t *testing.T) {
	t.Helper()
	save(t, s.file, txtar.Format(s.archive()))
}

// archive is the inverse of scene.
func (s *Scene) archive() *txtar.Archive {
	a := &txtar.Archive{Comment: []byte(s.Title + "\n")}
	for _, turn := range s.Turns {
		a.Files = append(a.Files, txtar.File{Name: turn.Name, Data: []byte(turn.Text)})
	}
	return a
}

// Golden compares got with the file of that name below testdata, and rewrites
// the file in a run with -update.
func Golden(t *testing.T, name, got string) {
	t.Helper()
	if Updating() {
		save(t, name, []byte(got))
		return
	}
	want, err := os.ReadFile(source(t, name))
	if err != nil {
		t.Fatalf("%v (run the test with -update to write it)", err)
	}
	EqualText(t, got, string(want))
}

// save writes one of our files.
func save(t *testing.T, name string, b []byte) {
	t.Helper()
	file := source(t, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o666); err != nil {
		t.Fatal(err)
	}
}

// source returns where a file of ours is on disk. Tests run in the directory
// of their package, somewhere below go.mod.
func source(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "testdata", filepath.FromSlash(path.Clean("/"+name)))
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = up
	}
}
