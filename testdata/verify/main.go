// Command verify says whether a test run kept what the project promises. It is
// run at the top of the module.
//
//	go test -json ./... | verify run [-save FILE] [-vectors] [-ledger]
//	verify run [-vectors] [-ledger] FILE...
//	verify static
//	verify features
//	verify sections DIR...
//
// run reads the output of go test -json, prints the output of tests that
// failed, and ends with a line of totals. With -vectors each test vector must
// have been opened by a test that passed; with -ledger each requirement that
// testdata/ledger.txt calls done must have its tests run and pass. It counts as
// failures too what a careless run hides: skipped and unfinished tests, and a
// package that does not build.
//
// static checks what needs no run: the ledger's syntax, the feature table in
// README.md, and that the sections which the sources cite exist, by
// testdata/sections.txt. features rewrites that table; sections prints that
// list from the texts of RFCs and XEPs.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// Files of the project, from its top.
const (
	ledgerFile   = "testdata/ledger.txt"
	sectionsFile = "testdata/sections.txt"
	readmeFile   = "README.md"
	vectorsDir   = "testdata/vectors"
)

// errFaults ends a command that has already said what is wrong.
var errFaults = errors.New("faults found")

func main() {
	err := command(os.Args[1:], os.Stdin, os.Stdout)
	if err != nil && !errors.Is(err, errFaults) {
		fmt.Fprintln(os.Stderr, "verify:", err)
	}
	if err != nil {
		os.Exit(1)
	}
}

// command does what the arguments say.
func command(args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("want run, static, features or sections; see go doc ./testdata/verify")
	}
	switch args[0] {
	case "run":
		return runCommand(args[1:], in, out)
	case "static":
		return static(".", out)
	case "features":
		return writeFeatures(".")
	case "sections":
		return writeSections(args[1:], out)
	}
	return fmt.Errorf("no command %q", args[0])
}

// runCommand reads one run, from standard input or from files.
func runCommand(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	save := flags.String("save", "", "keep a copy of standard input in this file")
	vectors := flags.Bool("vectors", false, "each vector must have been opened")
	ledger := flags.Bool("ledger", false, "each requirement done must have been proved")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r := newRun()
	if err := r.readAll(flags.Args(), in, *save, out); err != nil {
		return err
	}
	faults := r.faults()
	if *vectors {
		more, err := r.unopened(".")
		if err != nil {
			return err
		}
		faults = append(faults, more...)
	}
	if *ledger {
		rows, more, err := readLedger(".")
		if err != nil {
			return err
		}
		faults = append(append(faults, more...), r.unproved(rows)...)
	}
	return r.report(out, faults, *save == "")
}

// static checks the files of the project below root.
func static(root string, out io.Writer) error {
	rows, faults, err := readLedger(root)
	if err != nil {
		return err
	}
	more, err := citations(root)
	if err != nil {
		return err
	}
	faults = append(faults, more...)
	more, err = staleFeatures(root, rows)
	if err != nil {
		return err
	}
	faults = append(faults, more...)
	for _, f := range faults {
		fmt.Fprintln(out, f)
	}
	if len(faults) > 0 {
		return errFaults
	}
	return nil
}
