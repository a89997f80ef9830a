package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An event is a line of go test -json (see go doc test2json).
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build output
	Test        string
	Output      string
	Key, Value  string // of attributes
	Elapsed     float64
	FailedBuild string
}

// A name says which test of which package is meant. Test is "" for the package
// itself.
type name struct{ Package, Test string }

// String returns the name as the ledger spells it.
func (n name) String() string {
	if n.Test == "" {
		return n.Package
	}
	return n.Package + "." + n.Test
}

// A run is what one or more outputs of go test -json say together.
type run struct {
	results map[name]string   // pass, fail or skip; "" while it runs
	output  map[name][]string // of what has not passed
	builds  map[string]string // output of builds that no package has answered for
	vectors map[string][]name // vector, and the tests that opened it
	loose   []string          // lines that are no events
	module  string            // what precedes the names of packages
}

func newRun() *run {
	return &run{
		results: map[name]string{},
		output:  map[name][]string{},
		builds:  map[string]string{},
		vectors: map[string][]name{},
		module:  "cpimgate/",
	}
}

// readAll reads the files, or standard input where there are none. Of standard
// input it shows a line for each package that ends, so that one sees it move.
func (r *run) readAll(files []string, in io.Reader, save string, out io.Writer) error {
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		err = r.read(f, io.Discard)
		f.Close()
		if err != nil {
			return err
		}
	}
	if len(files) > 0 {
		return nil
	}
	if save == "" {
		return r.read(in, out)
	}
	if err := os.MkdirAll(filepath.Dir(save), 0o777); err != nil {
		return err
	}
	f, err := os.Create(save)
	if err != nil {
		return err
	}
	if err := r.read(io.TeeReader(in, f), out); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// read takes in one output of go test -json.
func (r *run) read(in io.Reader, progress io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var ev event
		if err := json.Unmarshal(lines.Bytes(), &ev); err != nil || ev.Action == "" {
			r.loose = append(r.loose, lines.Text())
			continue
		}
		r.take(ev)
		if ev.Test == "" && ev.Action == "pass" {
			fmt.Fprintf(progress, "ok    %s  %.1fs\n", r.short(ev.Package), ev.Elapsed)
		}
	}
	return lines.Err()
}

// take adds one event.
func (r *run) take(ev event) {
	n := name{r.short(ev.Package), ev.Test}
	switch ev.Action {
	case "start", "run":
		if _, again := r.results[n]; !again {
			r.results[n] = ""
		}
	case "build-output":
		r.builds[ev.ImportPath] += ev.Output
	case "output":
		if !isFrame(ev.Output) {
			r.output[n] = append(r.output[n], ev.Output)
		}
	case "attr":
		if ev.Key == "vector" {
			r.vectors[ev.Value] = append(r.vectors[ev.Value], n)
		}
	case "pass", "fail", "skip":
		r.end(n, ev)
	}
}

// end notes how a test or package ended. What has failed once has failed.
func (r *run) end(n name, ev event) {
	if r.results[n] != "fail" {
		r.results[n] = ev.Action
	}
	if ev.Action == "pass" {
		delete(r.output, n)
	}
	if n.Test == "" && ev.Action == "skip" {
		delete(r.results, n) // a package without tests
	}
	if text, ok := r.builds[ev.FailedBuild]; ok {
		r.output[n] = append(r.output[n], text)
		delete(r.builds, ev.FailedBuild) // said once, though many may need it
	}
}

// short returns the path of a package inside the module.
func (r *run) short(pkg string) string { return strings.TrimPrefix(pkg, r.module) }

// isFrame reports that a line of output only repeats what an event says.
func isFrame(line string) bool {
	line = strings.TrimSpace(line)
	for _, p := range []string{"=== RUN", "=== PAUSE", "=== CONT", "=== NAME", "=== ATTR", "--- PASS", "FAIL\t"} {
		if strings.HasPrefix(line, p) {
			return true
		}
	}
	return line == "FAIL" || line == "PASS"
}

// faults returns what makes a run bad although no test says so.
func (r *run) faults() []string {
	var out []string
	for _, n := range r.names() {
		switch r.results[n] {
		case "skip":
			out = append(out, n.String()+": skipped")
		case "":
			out = append(out, n.String()+": never ended")
		}
	}
	if len(r.results) == 0 {
		out = append(out, "no tests ran")
	}
	for _, line := range r.loose {
		out = append(out, "not an event of go test -json: "+line)
	}
	for _, pkg := range slices.Sorted(maps.Keys(r.builds)) {
		out = append(out, "build of "+pkg+": "+r.builds[pkg])
	}
	return out
}

// names returns what ran, in order.
func (r *run) names() []name {
	return slices.SortedFunc(maps.Keys(r.results), func(a, b name) int {
		if c := strings.Compare(a.Package, b.Package); c != 0 {
			return c
		}
		return strings.Compare(a.Test, b.Test)
	})
}

// unopened returns the vectors below root that no passed test has opened.
func (r *run) unopened(root string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(root, vectorsDir, "*", "*"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, file := range files {
		id := filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
		passed := func(n name) bool { return r.results[n] == "pass" }
		if !slices.ContainsFunc(r.vectors[id], passed) {
			out = append(out, vectorsDir+"/"+id+": no test opened this vector and passed")
		}
	}
	return out, nil
}

// report prints what failed and the faults, and ends with the totals. In a
// part of a larger run the totals are printed only if it failed: the whole
// has its own.
func (r *run) report(out io.Writer, faults []string, whole bool) error {
	passed, failed := 0, len(faults)
	broken := map[string]bool{} // packages of which some test has failed
	for _, n := range r.names() {
		switch {
		case r.results[n] == "fail" && n.Test != "":
			failed++
			broken[n.Package] = true
		case r.results[n] == "pass" && n.Test != "":
			passed++
		}
	}
	for _, n := range r.names() {
		if r.results[n] != "fail" {
			continue
		}
		if n.Test == "" {
			fmt.Fprintln(out, "FAIL ", n)
			if !broken[n.Package] {
				failed++
			}
		}
		fmt.Fprint(out, strings.Join(r.output[n], ""))
	}
	for _, f := range faults {
		fmt.Fprintln(out, "FAULT", f)
	}
	if whole || failed > 0 {
		fmt.Fprintf(out, "%d passed, %d failed\n", passed, failed)
	}
	if failed > 0 {
		return errFaults
	}
	return nil
}
