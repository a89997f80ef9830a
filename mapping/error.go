package mapping

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
)

// Circumstances are what the status for an error stanza depends on besides the
// error itself.
type Circumstances struct {
	Full         bool   // the stanza is from a full JID (RFC 7247, table 2, notes 1, 2 and 5)
	Dialog       bool   // what failed is a request inside an INVITE dialog
	Unresolvable bool   // the domain may exist, but could not be resolved (note 4)
	Bare4xx      bool   // no 6xx for a bare JID: a proxy would give up the user's other devices (note 2)
	Allow        string // the methods that we take, for the Allow of a 405
}

// StatusOf returns the response code for a condition (RFC 7247, section 7.1,
// table 2). An error without one goes by its type (RFC 6120, section 8.3.2).
//
// A gone address that is none to SIP counts as no address: a 301 without
// Contact leads nowhere. The code may not be fit for the wire, see [ErrorToSIP].
func StatusOf(e *xep.Error, about Circumstances) int {
	s, ok := statuses[e.Condition]
	if !ok {
		return byType[e.Type]
	}
	switch {
	case e.Condition == "gone" && contactOf(e) == nil: // note 3
		return 410
	case e.Condition == "remote-server-not-found" && about.Unresolvable: // note 4
		return 408
	case e.Condition == "unexpected-request" && about.Dialog:
		return 491
	case about.Full || about.Bare4xx && s.bare >= 600:
		return s.full
	}
	return s.bare
}

// ErrorToSIP maps an error stanza to a final response (RFC 7247, section 7.1).
// The error's text becomes the reason phrase.
//
// A 401 or 407 would need a challenge and is sent as 403 (RFC 3261, sections
// 22.2 and 22.3). A 408 is the answer to an INVITE only; the entrance sends 504
// to any other request (RFC 4320, section 4.2).
func ErrorToSIP(e *xep.Error, about Circumstances) (status int, reason string, fields []sip.Header) {
	status = StatusOf(e, about)
	switch status {
	case 301, 302:
		if c := contactOf(e); c != nil {
			fields = append(fields, c)
		}
	case 401, 407:
		status = 403
	case 405:
		fields = append(fields, sip.NewHeader("Allow", about.Allow)) // RFC 3261, section 21.4.6
	}
	reason = sipx.Reason(e.Text)
	switch {
	case reason != "":
	case e.Condition == "service-unavailable" && status == 403:
		reason = "User unknown or not accepting messages" // note 5
	default:
		reason = responses[status].phrase
	}
	return status, reason, fields
}

// contactOf returns the Contact for the new address in a gone or redirect
// error, or nil if it is none that SIP can use.
func contactOf(e *xep.Error) sip.Header {
	scheme, _, _ := strings.Cut(e.Address, ":")
	var u sip.Uri
	var err error
	switch strings.ToLower(scheme) {
	case "sip", "sips", "tel":
		u, err = ParseURI(e.Address)
		u.Password = ""
	case "im", "pres":
		if u, err = ParseURI(e.Address); err == nil {
			user, _ := userOf(u) // grammatical, as ParseURI found
			u.Scheme, u.User = "sip", sipUser(user)
		}
	default:
		j, bad := ParseXMPP(e.Address)
		if bad != nil {
			return nil
		}
		u, err = ToURI(j)
	}
	if err != nil {
		return nil
	}
	return &sip.ContactHeader{Address: u}
}

// ConditionOf returns condition and error type for a response code of 300 or
// more (RFC 7247, section 7.2, table 3); one that the table does not list goes
// by its class. The types, which that table leaves open, are those of RFC 6120,
// section 8.3.3, but for 6xx: nobody is to hear that an account is closed.
func ConditionOf(status int) (condition, errorType string) {
	r, ok := responses[status]
	if !ok {
		r = responses[status/100*100]
	}
	return r.condition, r.typ
}

// ErrorToXMPP maps a final response of 300 or more to an error (RFC 7247,
// section 7.2). The reason phrase becomes its text; where Retry-After says when,
// the error says to wait (RFC 3261, section 20.33).
//
// An answer that nobody gave, and that our own side made of a time-out (408) or
// a connection that failed (503), is ours: the server was not reached, and 404
// is a domain that does not exist (table 3, notes 4 and 5).
//
// A 301 needs a new address that XMPP can use (note 1). Without one it is a
// redirect to nowhere, as 305 is: an empty gone would say 410.
func ErrorToXMPP(res *sip.Response, ours bool) *xep.Error {
	e := &xep.Error{Lang: "en", Text: sipx.Reason(res.Reason)}
	e.Condition, e.Type = ConditionOf(res.StatusCode)
	if e.Text == "" {
		e.Text = responses[res.StatusCode].phrase
	}
	switch status := res.StatusCode; {
	case ours && status == 404:
		e.Condition = "remote-server-not-found"
	case ours && status == 503:
		e.Condition, e.Type = ConditionOf(408)
	case status == 301:
		if e.Address = addressOf(res); e.Address == "" {
			e.Condition, e.Type = ConditionOf(302)
		}
	case e.Condition == "redirect" && status != 305:
		e.Address = addressOf(res)
	}
	setRetry(e, res)
	return e
}

// addressOf returns the first Contact that has an image, as an xmpp URI. What
// names a host by its number would show where a user is (RFC 2779, section
// 5.1.17) and is passed over.
func addressOf(res *sip.Response) string {
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok {
			continue
		}
		j, err := ToJID(WithGRUU(c.Address, c.Params))
		if err != nil {
			continue
		}
		if _, number := literal(j.Domainpart()); !number {
			return FormatXMPP(j)
		}
	}
	return ""
}

func setRetry(e *xep.Error, res *sip.Response) {
	switch res.StatusCode {
	case 480, 486, 500, 503, 600, 603:
	default:
		return
	}
	value := sipx.Value(res, "Retry-After")
	digits := len(value) - len(strings.TrimLeft(value, "0123456789"))
	if n, err := strconv.ParseUint(value[:digits], 10, 32); err == nil {
		e.Type = "wait"
		hint := fmt.Sprintf(" (retry after %d s)", n)
		whole := e.Text[:min(len(e.Text), sipx.MaxReason-len(hint))]
		e.Text = strings.ToValidUTF8(whole, "") + hint // no half character
	}
}
