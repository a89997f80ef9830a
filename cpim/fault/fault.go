// Package fault is the vocabulary of our own failures. Every layer returns
// them; the gateway turns a kind into a SIP status, a stanza error, an MSRP or
// an HTTP status through one table. What a peer refuses keeps the peer's own
// code and is not a fault.
package fault

import (
	"errors"
	"fmt"
)

// A Kind says what went wrong, as far as the sender must be able to tell.
type Kind uint8

const (
	Internal    Kind = iota // ours; the sender learns nothing but that
	Malformed               // breaks its own grammar
	Unsupported             // grammatical, but nothing that we carry
	Forbidden               // policy, or not the sender's to say
	NotFound                // no such user or room
	TooLarge                // over a size, ours or the far wire's
	NoRoute                 // the domain is unknown or does not speak the protocol
	Timeout                 // the far side did not answer in time
	Busy                    // one of our resources is used up; worth another try
	Flood                   // the sender says more than it may in the time
)

var names = [...]string{
	Internal:    "internal",
	Malformed:   "malformed",
	Unsupported: "unsupported",
	Forbidden:   "forbidden",
	NotFound:    "not-found",
	TooLarge:    "too-large",
	NoRoute:     "no-route",
	Timeout:     "timeout",
	Busy:        "busy",
	Flood:       "flood",
}

// Kinds is the number of kinds; tables that give each kind a face have this
// length.
const Kinds = len(names)

// String returns the kind as metrics and logs spell it.
func (k Kind) String() string {
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// An Error is one failure: what the sender may read, and apart from it what
// only the operator may.
type Error struct {
	Kind Kind
	Text string // short English, without names of our hosts; it leaves our domain
	Err  error  // the cause, for the log; may be nil
}

// E returns a fault with no other cause than the text itself.
func E(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Text: fmt.Sprintf(format, args...)}
}

// Wrap returns a fault that was caused by err.
func Wrap(k Kind, err error, format string, args ...any) error {
	return &Error{Kind: k, Text: fmt.Sprintf(format, args...), Err: err}
}

// Error returns text and cause together, for the operator.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Text
	}
	return e.Text + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost fault in err's chain, and Internal
// for an error that is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// TextOf returns what may be told to the sender about err.
func TextOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Text
	}
	return "internal error"
}
