package main

// An exit is the end of a command with a status of its own; without a cause all
// has been said.
type exit struct {
	code int
	err  error
}

// Error returns the cause, if there is one.
func (e exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

// Unwrap returns the cause.
func (e exit) Unwrap() error { return e.err }

// wrongUsage is the status of a command line or configuration that is wrong.
const wrongUsage = 2

// usage ends a command because of how it was called.
func usage(err error) error { return exit{wrongUsage, err} }
