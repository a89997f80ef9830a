package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The output of a run: one package passes, one has a failing subtest, one does
// not build, one has no tests.
const mixed = `{"Action":"start","Package":"cpimgate/cpim"}
{"Action":"run","Package":"cpimgate/cpim","Test":"TestA"}
{"Action":"output","Package":"cpimgate/cpim","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"run","Package":"cpimgate/cpim","Test":"TestA/x"}
{"Action":"attr","Package":"cpimgate/cpim","Test":"TestA/x","Key":"vector","Value":"rfc3862/x.txtar"}
{"Action":"output","Package":"cpimgate/cpim","Test":"TestA/x","Output":"    a_test.go:1: chatter\n"}
{"Action":"pass","Package":"cpimgate/cpim","Test":"TestA/x","Elapsed":0}
{"Action":"pass","Package":"cpimgate/cpim","Test":"TestA","Elapsed":0}
{"Action":"pass","Package":"cpimgate/cpim","Elapsed":0.1}
{"Action":"start","Package":"cpimgate/gateway/talk"}
{"Action":"run","Package":"cpimgate/gateway/talk","Test":"TestB"}
{"Action":"run","Package":"cpimgate/gateway/talk","Test":"TestB/bad"}
{"Action":"attr","Package":"cpimgate/gateway/talk","Test":"TestB/bad","Key":"vector","Value":"rfc3862/bad.txtar"}
{"Action":"output","Package":"cpimgate/gateway/talk","Test":"TestB/bad","Output":"    b_test.go:2: said no\n"}
{"Action":"output","Package":"cpimgate/gateway/talk","Test":"TestB/bad","Output":"    --- FAIL: TestB/bad (0.00s)\n"}
{"Action":"fail","Package":"cpimgate/gateway/talk","Test":"TestB/bad","Elapsed":0}
{"Action":"output","Package":"cpimgate/gateway/talk","Test":"TestB","Output":"--- FAIL: TestB (0.00s)\n"}
{"Action":"fail","Package":"cpimgate/gateway/talk","Test":"TestB","Elapsed":0}
{"Action":"output","Package":"cpimgate/gateway/talk","Output":"FAIL\n"}
{"Action":"output","Package":"cpimgate/gateway/talk","Output":"exit status 1\n"}
{"Action":"output","Package":"cpimgate/gateway/talk","Output":"FAIL\tcpimgate/gateway/talk\t0.2s\n"}
{"Action":"fail","Package":"cpimgate/gateway/talk","Elapsed":0.2}
{"ImportPath":"cpimgate/mapping_test [cpimgate/mapping.test]","Action":"build-output","Output":"mapping/x.go:1:1: undefined: y\n"}
{"ImportPath":"cpimgate/mapping_test [cpimgate/mapping.test]","Action":"build-fail"}
{"Action":"start","Package":"cpimgate/mapping"}
{"Action":"fail","Package":"cpimgate/mapping","Elapsed":0,"FailedBuild":"cpimgate/mapping_test [cpimgate/mapping.test]"}
{"Action":"start","Package":"cpimgate/federation"}
{"Action":"output","Package":"cpimgate/federation","Output":"?   \tcpimgate/federation\t[no test files]\n"}
{"Action":"skip","Package":"cpimgate/federation","Elapsed":0}
`

// read makes a run of text.
func read(t *testing.T, text string) *run {
	t.Helper()
	r := newRun()
	if err := r.read(strings.NewReader(text), new(bytes.Buffer)); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestReport prints what failed and nothing else, and the totals last.
func TestReport(t *testing.T) {
	var out bytes.Buffer
	r := read(t, mixed)
	if f := r.faults(); f != nil {
		t.Errorf("faults %q", f)
	}
	if err := r.report(&out, nil, true); err != errFaults {
		t.Error(err)
	}
	want := `FAIL  gateway/talk
exit status 1
--- FAIL: TestB (0.00s)
    b_test.go:2: said no
    --- FAIL: TestB/bad (0.00s)
FAIL  mapping
mapping/x.go:1:1: undefined: y
2 passed, 3 failed
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestGood is silent about a part that passed, and says the totals of a whole.
func TestGood(t *testing.T) {
	good, _, _ := strings.Cut(mixed, `{"Action":"start","Package":"cpimgate/gateway/talk"}`)
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"run"}, "ok    cpim  0.1s\n2 passed, 0 failed\n"},
		{[]string{"run", "-save", filepath.Join(t.TempDir(), "run", "x.json")}, "ok    cpim  0.1s\n"},
	} {
		var out bytes.Buffer
		if err := command(row.args, strings.NewReader(good), &out); err != nil || out.String() != row.want {
			t.Errorf("%q: %v\n%s", row.args, err, out.String())
		}
		if len(row.args) < 3 {
			continue
		}
		if b, err := os.ReadFile(row.args[2]); err != nil || string(b) != good {
			t.Errorf("not saved: %v", err)
		}
		out.Reset()
		if err := command([]string{"run", row.args[2], row.args[2]}, nil, &out); err != nil || out.String() != "2 passed, 0 failed\n" {
			t.Errorf("from files: %v\n%s", err, out.String())
		}
	}
}

// TestFaults finds what a run does not say itself.
func TestFaults(t *testing.T) {
	for _, row := range []struct{ what, text, want string }{
		{"empty", "", "no tests ran"},
		{"skipped", `{"Action":"run","Package":"cpimgate/p","Test":"TestS"}` + "\n" +
			`{"Action":"skip","Package":"cpimgate/p","Test":"TestS"}`, "p.TestS: skipped"},
		{"unfinished", `{"Action":"run","Package":"cpimgate/p","Test":"TestU"}`, "p.TestU: never ended"},
		{"stray build", `{"ImportPath":"cpimgate/q","Action":"build-output","Output":"undefined: y"}` + "\n" +
			`{"Action":"pass","Package":"cpimgate/p","Test":"T"}`, "build of cpimgate/q: undefined: y"},
		{"no JSON", `{"Action":"pass","Package":"cpimgate/p","Test":"T"}` + "\nFAIL: pattern\n", "not an event of go test -json: FAIL: pattern"},
	} {
		if got := read(t, row.text).faults(); !slices.Equal(got, []string{row.want}) {
			t.Errorf("%s: %q, want %q", row.what, got, row.want)
		}
	}
	r := read(t, `{"Action":"fail","Package":"cpimgate/p","Test":"T"}`+"\n"+`{"Action":"pass","Package":"cpimgate/p","Test":"T"}`)
	if r.results[name{"p", "T"}] != "fail" {
		t.Error("what failed once has not failed")
	}
}

// TestUnopened counts a vector only where the test that opened it passed.
func TestUnopened(t *testing.T) {
	root := t.TempDir()
	put(t, root, vectorsDir+"/rfc3862/x.txtar", "")
	put(t, root, vectorsDir+"/rfc3862/bad.txtar", "")
	put(t, root, vectorsDir+"/rfc3862/new.txtar", "")
	got, err := read(t, mixed).unopened(root)
	want := []string{
		vectorsDir + "/rfc3862/bad.txtar: no test opened this vector and passed",
		vectorsDir + "/rfc3862/new.txtar: no test opened this vector and passed",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestLedger finds each thing that can be wrong in a line.
func TestLedger(t *testing.T) {
	rows, faults := parseLedger(`# the ledger
MSG-01 yes cpim.TestA, gateway/talk.TestB/bad
MSG-02 partly no markers # later
MSG-03 no postponed

MSG-01 no twice
MSG-04
MSG-05 yes
MSG-06 perhaps so
MSG-07 yes TestA
NEW-01 no reason
msg-08 no reason
`)
	want := []string{
		"testdata/ledger.txt:6: MSG-01 stands in line 2 already",
		`testdata/ledger.txt:7: MSG-04: want yes, partly or no, not ""`,
		"testdata/ledger.txt:8: MSG-05: want the tests, what is missing, or the reason",
		`testdata/ledger.txt:9: MSG-06: want yes, partly or no, not "perhaps"`,
		`testdata/ledger.txt:10: MSG-07: "TestA" is not PACKAGE.TEST`,
		"testdata/ledger.txt:11: no title for NEW in testdata/verify/features.go",
		`testdata/ledger.txt:12: "msg-08" is no requirement`,
	}
	if !slices.Equal(faults, want) {
		t.Errorf("faults\n%s", strings.Join(faults, "\n"))
	}
	if len(rows) != 3 || rows[1].Rest != "no markers" || len(rows[0].tests()) != 2 || rows[2].tests() != nil {
		t.Errorf("rows %+v", rows)
	}
}

// TestUnproved demands that the test ran and passed.
func TestUnproved(t *testing.T) {
	rows, faults := parseLedger("MSG-01 yes cpim.TestA, cpim.TestA/x\nMSG-02 yes cpim.TestA/y\nMSG-03 yes cpim.TestA, gateway/talk.TestB\n")
	got := read(t, mixed).unproved(rows)
	want := []string{
		"testdata/ledger.txt:2: MSG-02: cpim.TestA/y: not run",
		"testdata/ledger.txt:3: MSG-03: gateway/talk.TestB: fail",
	}
	if faults != nil || !slices.Equal(got, want) {
		t.Errorf("%q, faults %q", got, faults)
	}
}

// put writes a file below root.
func put(t *testing.T, root, name, text string) {
	t.Helper()
	file := filepath.Join(root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}
