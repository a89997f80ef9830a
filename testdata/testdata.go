// Package testdata is the conformance corpus: test vectors, scenes, and the
// ledger that says which requirement is proved by which test. It imports
// nothing of ours, so the tests of any package may use it.
//
// A vector is a text archive (golang.org/x/tools/txtar) in vectors/FOLDER. A
// test that opens one answers for all of it: what the case holds and the test
// never asked for (a section, a vary line, a context key) fails the case. So
// does a vector that no test opens, which `testdata/verify` finds by the
// attribute "vector" in the output of go test -json.
//
// A scene is an archive in a folder named by its topic: a citation, then turns
// in order.
//
// Three formats of vectors differ in their line ends, which [Case.Wire] knows:
//
//   - interworking: sections in.KIND, out.KIND, context, vary; a section of
//     kind sip, msrp, cpim or mime has CRLF, and but for msrp its last line end
//     belongs to the archive;
//   - MSRP: a title line, sections wire.KIND and expect.json; all but xml have
//     CRLF, the last one too except in wire.cpim;
//   - SIMPLE: "key: value" lines before the first section; sections that end in
//     .sip or .http have CRLF, and the last line end is no part of a body.
package testdata

import (
	"embed"
	"io/fs"
	"path"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

//go:embed vectors
var vectors embed.FS

//go:embed */*.txtar
var scenes embed.FS

// Vectors runs fn as a subtest for every vector of a folder whose name without
// ".txtar" matches the pattern (see [path.Match]). It fails where nothing
// matches. After fn, what the case holds and fn did not ask for fails the
// subtest.
//
//	testdata.Vectors(t, "rfc7247", "addr-s2x-*", func(t *testing.T, c *testdata.Case) {
//		...
//	})
func Vectors(t *testing.T, folder, pattern string, fn func(t *testing.T, c *Case)) {
	t.Helper()
	for _, name := range list(t, vectors, path.Join("vectors", folder), pattern) {
		t.Run(base(name), func(t *testing.T) {
			id := strings.TrimPrefix(name, "vectors/")
			t.Attr("vector", id)
			c, err := read(id, archive(t, vectors, name))
			if err != nil {
				t.Fatal(err)
			}
			c.t = t
			t.Cleanup(func() { c.finish(t) })
			fn(t, c)
		})
	}
}

// Seeds returns the wire text of every section of a kind (sip, cpim, uri, jid,
// xmpp, ...) in all vectors, for the corpus of a fuzzer. It opens no vector in
// the sense of the ledger.
func Seeds(kind string) []string {
	var out []string
	names, _ := fs.Glob(vectors, "vectors/*/*.txtar") // the pattern is right
	for _, name := range names {
		b, _ := vectors.ReadFile(name) // it has just been listed
		c, err := read(name, txtar.Parse(b))
		if err != nil {
			continue
		}
		for _, s := range c.sections {
			if kindOf(s.Name) == kind {
				out = append(out, c.wire(s.Name))
			}
		}
	}
	return out
}

// list returns the archives of a folder that match, and fails without any.
func list(t *testing.T, files fs.FS, folder, pattern string) []string {
	t.Helper()
	names, err := fs.Glob(files, path.Join(folder, pattern+".txtar"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no file %s/%s.txtar: %v", folder, pattern, err)
	}
	return names
}

// archive reads one file of an embedded tree.
func archive(t *testing.T, files fs.FS, name string) *txtar.Archive {
	t.Helper()
	b, err := fs.ReadFile(files, name)
	if err != nil {
		t.Fatal(err)
	}
	return txtar.Parse(b)
}

// base returns the name of a file as subtests spell it.
func base(name string) string { return strings.TrimSuffix(path.Base(name), ".txtar") }
