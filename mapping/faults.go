package mapping

import (
	"errors"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
)

// faults gives each of our own failures its face on each wire. What a peer
// refuses keeps its own code and crosses by RFC 7247, section 7.
//
// A time-out is 504 and not 408: RFC 4320, section 4.2 forbids the latter as
// the answer to anything but an INVITE.
var faults = [fault.Kinds]struct {
	sip       int
	condition string
	typ       string
	msrp      int
	http      int
}{
	fault.Internal:    {500, "internal-server-error", "cancel", 413, 500},
	fault.Malformed:   {400, "bad-request", "modify", 400, 400},
	fault.Unsupported: {415, "not-acceptable", "modify", 415, 415},
	fault.Forbidden:   {403, "forbidden", "auth", 403, 403},
	fault.NotFound:    {404, "item-not-found", "cancel", 481, 404},
	fault.TooLarge:    {413, "policy-violation", "modify", 413, 413},
	fault.NoRoute:     {404, "remote-server-not-found", "cancel", 481, 404},
	fault.Timeout:     {504, "remote-server-timeout", "wait", 408, 504},
	fault.Busy:        {480, "resource-constraint", "wait", 408, 503},
	fault.Flood:       {480, "policy-violation", "wait", 413, 429},
}

// retryAfter is what we ask of one who floods (RFC 3261, section 20.33).
const retryAfter = "10"

// FaultToSIP returns the answer that tells a SIP sender of a failure of ours.
func FaultToSIP(err error) (status int, reason string, fields []sip.Header) {
	if r, ok := errors.AsType[*sipx.Refusal](err); ok {
		return r.Status, fault.TextOf(err), r.Fields
	}
	kind := fault.KindOf(err)
	if kind == fault.Flood || kind == fault.Busy {
		fields = append(fields, sip.NewHeader("Retry-After", retryAfter))
	}
	return faults[kind].sip, sipx.Reason(fault.TextOf(err)), fields
}

// FaultToXMPP returns the error that tells an XMPP sender of a failure of ours.
// by is the domain of ours that he wrote to (ERR-10).
func FaultToXMPP(err error, by string) *xep.Error {
	f, address := faults[fault.KindOf(err)], ""
	if r, ok := errors.AsType[*StanzaRefusal](err); ok {
		f.typ, f.condition, address = r.Type, r.Condition, r.Address
	}
	return &xep.Error{Type: f.typ, Condition: f.condition, Address: address, By: by, Text: fault.TextOf(err), Lang: "en"}
}
