package mapping

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/testdata"
)

const errAllow = "INVITE, ACK, CANCEL, BYE, MESSAGE, OPTIONS, SUBSCRIBE, NOTIFY"

// errResponse is a response with no more than a status line and the header
// fields given.
func errResponse(t testing.TB, status int, reason string, fields ...string) *sip.Response {
	t.Helper()
	text := fmt.Sprintf("SIP/2.0 %d %s\r\n%s\r\nContent-Length: 0\r\n\r\n", status, reason, strings.Join(fields, "\r\n"))
	return parseSIP(t, strings.Replace(text, "\r\n\r\nContent", "\r\nContent", 1)).(*sip.Response)
}

func TestVectorsErrorToXMPP(t *testing.T) {
	testdata.Vectors(t, "rfc7247", "err-s2x-*", func(t *testing.T, c *testdata.Case) {
		var e *xep.Error
		if c.Says("event") {
			if got := c.Value("event"); got != "transaction timeout (timer F)" {
				t.Fatalf("unknown event %q", got)
			}
			e = ErrorToXMPP(errResponse(t, 408, "Request Timeout"), true)
			if c.Vary("error text") {
				e.Text = ""
			}
		} else {
			e = ErrorToXMPP(parseSIP(t, c.Wire("in.sip")).(*sip.Response), false)
		}
		h, err := xep.HeaderOf(parseStanza(t, c.Text("context.xmpp")))
		if err != nil {
			t.Fatal(err)
		}
		c.Vary("error text", "by attribute") // we write the vector's text, and no by
		testdata.EqualText(t, outline(xep.ErrorStanza(h, e)), outline(parseStanza(t, c.Text("out.xmpp"))))
	})
}

func TestVectorsErrorToSIP(t *testing.T) {
	testdata.Vectors(t, "rfc7247", "err-x2s-*", func(t *testing.T, c *testdata.Case) {
		stanza := parseStanza(t, c.Text("in.xmpp"))
		h, err := xep.HeaderOf(stanza)
		if err != nil {
			t.Fatal(err)
		}
		if id := c.Value("translated-id"); id != "" && h.ID != id {
			t.Fatalf("the error is about %s, not %s", h.ID, id)
		}
		about := Circumstances{Full: h.From.Resourcepart() != "", Allow: errAllow}
		if c.Says("cause") {
			about.Unresolvable = c.Value("cause") == "domain cannot be resolved"
		}
		e := xep.ErrorOf(stanza)
		if code := c.Value("table-code"); code != "" && code != strconv.Itoa(StatusOf(e, about)) {
			t.Errorf("table 2 says %s, we %d", code, StatusOf(e, about))
		}
		status, reason, fields := ErrorToSIP(e, about)
		if c.Has("out.statusline") {
			testdata.EqualText(t, fmt.Sprintf("SIP/2.0 %d %s\n", status, reason), c.Text("out.statusline"))
			return
		}
		want := parseSIP(t, c.Wire("out.sip")).(*sip.Response)
		if c.Vary("reason phrase") {
			reason = want.Reason
		}
		res := sip.NewResponseFromRequest(parseSIP(t, c.Wire("context.sip")).(*sip.Request), status, reason, nil)
		for _, f := range fields {
			res.AppendHeader(f)
		}
		if c.Vary("To: tag") {
			res.To().Params.Add("tag", "gw1")
		}
		testdata.EqualText(t, headerLines(res), headerLines(want))
	})
}

// errTable3 is RFC 7247, table 3, as printed, with the error types of
// addressing.md, section 6.
const errTable3 = `
300 redirect modify
301 gone cancel
302 redirect modify
305 redirect modify
380 not-acceptable modify
400 bad-request modify
401 not-authorized auth
402 bad-request modify
403 forbidden auth
404 item-not-found cancel
405 feature-not-implemented cancel
406 not-acceptable modify
407 registration-required auth
408 remote-server-timeout wait
410 gone cancel
413 policy-violation modify
414 policy-violation modify
415 not-acceptable modify
416 not-acceptable modify
420 feature-not-implemented cancel
421 not-acceptable modify
423 resource-constraint wait
430 recipient-unavailable wait
439 feature-not-implemented cancel
440 policy-violation modify
480 recipient-unavailable wait
481 item-not-found cancel
482 not-acceptable modify
483 not-acceptable modify
484 item-not-found cancel
485 item-not-found cancel
486 recipient-unavailable wait
487 recipient-unavailable wait
488 not-acceptable modify
489 policy-violation modify
491 unexpected-request wait
493 bad-request modify
500 internal-server-error cancel
501 feature-not-implemented cancel
502 remote-server-not-found cancel
503 internal-server-error cancel
504 remote-server-timeout wait
505 not-acceptable modify
513 policy-violation modify
600 recipient-unavailable wait
603 recipient-unavailable wait
604 item-not-found cancel
606 not-acceptable modify
`

// Every response code of 300 to 699, listed or by its class.
func TestConditionOf(t *testing.T) {
	want := map[int]string{}
	for status := 300; status < 700; status++ {
		want[status] = [...]string{"redirect modify", "bad-request modify", "internal-server-error cancel", "recipient-unavailable wait"}[status/100-3]
	}
	for line := range strings.Lines(strings.TrimSpace(errTable3)) {
		code, row, _ := strings.Cut(strings.TrimSpace(line), " ")
		status, err := strconv.Atoi(code)
		if err != nil {
			t.Fatal(err)
		}
		want[status] = row
	}
	for status := 300; status < 700; status++ {
		condition, typ := ConditionOf(status)
		if got := condition + " " + typ; got != want[status] {
			t.Errorf("%d is %s, want %s", status, got, want[status])
		}
		if e := ErrorToXMPP(errResponse(t, status, "Why"), false); status != 301 && (e.Condition != condition || e.Type != typ || e.Text != "Why" || e.Lang != "en") {
			t.Errorf("%d becomes %+v", status, e)
		}
	}
}

// Each condition for a full and a bare JID; for a bare one with bare_jid_errors
// 4xx; and what is on the wire where that is another code.
func TestStatusOf(t *testing.T) {
	for _, row := range [...]struct {
		condition                 string
		full, bare, bare4xx, wire int
	}{
		{"bad-request", 400, 400, 400, 400},
		{"conflict", 400, 400, 400, 400},
		{"feature-not-implemented", 405, 501, 501, 501},
		{"forbidden", 403, 603, 403, 603},
		{"gone", 410, 410, 410, 410},
		{"internal-server-error", 500, 500, 500, 500},
		{"item-not-found", 404, 604, 404, 604},
		{"jid-malformed", 400, 400, 400, 400},
		{"not-acceptable", 406, 606, 406, 606},
		{"not-allowed", 403, 403, 403, 403},
		{"not-authorized", 401, 401, 401, 403},
		{"policy-violation", 403, 403, 403, 403},
		{"recipient-unavailable", 480, 600, 480, 600},
		{"redirect", 302, 302, 302, 302},
		{"registration-required", 407, 407, 407, 403},
		{"remote-server-not-found", 404, 404, 404, 404},
		{"remote-server-timeout", 408, 408, 408, 408},
		{"resource-constraint", 500, 500, 500, 500},
		{"service-unavailable", 405, 403, 403, 403},
		{"subscription-required", 400, 400, 400, 400},
		{"undefined-condition", 400, 400, 400, 400},
		{"unexpected-request", 400, 400, 400, 400},
	} {
		e := &xep.Error{Condition: row.condition, Type: "cancel"}
		wire, reason, _ := ErrorToSIP(e, Circumstances{})
		if full, bare, bare4xx := StatusOf(e, Circumstances{Full: true}), StatusOf(e, Circumstances{}), StatusOf(e, Circumstances{Bare4xx: true}); full != row.full || bare != row.bare || bare4xx != row.bare4xx || wire != row.wire {
			t.Errorf("%s: %d %d %d %d", row.condition, full, bare, bare4xx, wire)
		}
		if reason == "" {
			t.Errorf("%s has no phrase", row.condition)
		}
	}
	if len(statuses) != 22 {
		t.Errorf("table 2 has %d rows", len(statuses))
	}
	e := &xep.Error{Condition: "unexpected-request"}
	if got := StatusOf(e, Circumstances{Dialog: true}); got != 491 {
		t.Errorf("unexpected-request in a dialog: %d", got)
	}
	for typ, want := range map[string]int{"wait": 480, "auth": 403, "modify": 400, "cancel": 403, "continue": 400, "": 400} {
		if got := StatusOf(&xep.Error{Type: typ}, Circumstances{}); got != want {
			t.Errorf("an error of type %q is %d", typ, got)
		}
	}
}

func TestErrorToSIPAddress(t *testing.T) {
	for _, row := range [...]struct {
		condition, address string
		status             int
		contact            string
	}{
		{"gone", "xmpp:la-mer@example.com?message", 301, "<sip:la-mer@example.com>"},
		{"gone", `xmpp:o%5C27malley@example.com/x`, 301, "<sip:o'malley@example.com;gr=x>"},
		{"gone", "sip:Romeo:pw@h.example;transport=tcp?Subject=x", 301, "<sip:Romeo@h.example;transport=tcp>"},
		{"gone", "im:a^b@h.example", 301, "<sip:a%5Eb@h.example>"},
		{"gone", "tel:+1-415", 301, "<tel:+1-415>"},
		{"gone", "http://h.example/", 410, ""},
		{"gone", "xmpp:a%5C5cb@h.example", 410, ""},
		{"gone", "sip:a@h.example>\r\nX: y", 410, ""},
		{"redirect", "xmpp:a@h.example", 302, "<sip:a@h.example>"},
		{"redirect", "no address", 302, ""},
	} {
		status, _, fields := ErrorToSIP(&xep.Error{Condition: row.condition, Address: row.address}, Circumstances{})
		contact := ""
		for _, f := range fields {
			contact += f.Value()
		}
		if status != row.status || contact != row.contact {
			t.Errorf("%s %s: %d, %q", row.condition, row.address, status, contact)
		}
	}
}

func TestErrorToSIPReason(t *testing.T) {
	for _, row := range [...]struct {
		condition, text, want string
		full                  bool
	}{
		{"service-unavailable", "", "User unknown or not accepting messages", false},
		{"service-unavailable", "", "Method Not Allowed", true},
		{"service-unavailable", "No", "No", false},
		{"not-allowed", "", "Forbidden", false},
		{"not-authorized", "", "Forbidden", false},
		{"item-not-found", "a\r\nX: y\x00\x1b", "a X: y", false},
		{"item-not-found", " \n ", "Does Not Exist Anywhere", false},
		{"item-not-found", strings.Repeat("é", 200), strings.Repeat("é", 127), false},
	} {
		_, got, _ := ErrorToSIP(&xep.Error{Condition: row.condition, Text: row.text}, Circumstances{Full: row.full})
		if got != row.want {
			t.Errorf("%s %q: %q", row.condition, row.text, got)
		}
	}
}

func TestErrorToXMPPDetails(t *testing.T) {
	for _, row := range [...]struct {
		name string
		res  *sip.Response
		ours bool
		want string // condition, type, address, text
	}{
		{"ERR-03 first with an image", errResponse(t, 300, "Go", "Contact: <tel:+1>, <sip:%FF@h.example>", "Contact: <sip:a@h.example>;gr=x;q=1"), false,
			"redirect modify xmpp:a@h.example/x Go"},
		{"ERR-03 301 without address", errResponse(t, 301, "Go"), false, "redirect modify  Go"},
		{"ERR-03 no numbers", errResponse(t, 301, "Go", "Contact: <sip:a@192.0.2.1>"), false, "redirect modify  Go"},
		{"ERR-03 410 with address", errResponse(t, 410, "Go", "Contact: <sip:a@h.example>"), false, "gone cancel  Go"},
		{"ERR-03 380 with address", errResponse(t, 380, "Go", "Contact: <sip:a@h.example>"), false, "not-acceptable modify  Go"},
		{"ERR-04 no phrase", errResponse(t, 404, ""), false, "item-not-found cancel  Not Found"},
		{"ERR-04 control", errResponse(t, 404, "a\x01b\tc"), false, "item-not-found cancel  ab c"},
		{"ERR-12 486", errResponse(t, 486, "Busy Here", "Retry-After: 30"), false, "recipient-unavailable wait  Busy Here (retry after 30 s)"},
		{"ERR-12 503", errResponse(t, 503, "No", "Retry-After: 18000;duration=3600"), false, "internal-server-error wait  No (retry after 18000 s)"},
		{"ERR-12 500", errResponse(t, 500, "No", "Retry-After: 120 (I'm in a meeting)"), false, "internal-server-error wait  No (retry after 120 s)"},
		{"ERR-12 no number", errResponse(t, 500, "No", "Retry-After: soon"), false, "internal-server-error cancel  No"},
		{"ERR-12 elsewhere", errResponse(t, 404, "No", "Retry-After: 1"), false, "item-not-found cancel  No"},
		{"ours 404", errResponse(t, 404, "No"), true, "remote-server-not-found cancel  No"},
		{"ours 408", errResponse(t, 408, "No"), true, "remote-server-timeout wait  No"},
		{"ours 503", errResponse(t, 503, "No"), true, "remote-server-timeout wait  No"},
		{"ours 480", errResponse(t, 480, "No"), true, "recipient-unavailable wait  No"},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := ErrorToXMPP(row.res, row.ours)
			if got := strings.Join([]string{e.Condition, e.Type, e.Address, e.Text}, " "); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
	long := ErrorToXMPP(errResponse(t, 486, strings.Repeat("x", 300), "Retry-After: 30"), false)
	if !strings.HasSuffix(long.Text, "x (retry after 30 s)") || len(long.Text) > 255 {
		t.Errorf("%d octets: %s", len(long.Text), long.Text)
	}
}

// A refusal that crosses twice means what it meant, as far as the tables let
// it: the conditions that a full JID's status leads back to.
func TestErrorsThereAndBack(t *testing.T) {
	lost := map[string]string{ // RFC 7247, table 2 has no code of their own for them
		"conflict":                "bad-request",
		"jid-malformed":           "bad-request",
		"not-allowed":             "forbidden",
		"not-authorized":          "forbidden", // ERR-05
		"policy-violation":        "forbidden",
		"registration-required":   "forbidden", // ERR-05
		"remote-server-not-found": "item-not-found",
		"resource-constraint":     "internal-server-error",
		"service-unavailable":     "feature-not-implemented",
		"subscription-required":   "bad-request",
		"undefined-condition":     "bad-request",
		"unexpected-request":      "bad-request",
	}
	for condition := range statuses {
		status, _, _ := ErrorToSIP(&xep.Error{Condition: condition}, Circumstances{Full: true})
		want := condition
		if l := lost[condition]; l != "" {
			want = l
		}
		if back, _ := ConditionOf(status); back != want {
			t.Errorf("%s is %d, and that %s", condition, status, back)
		}
	}
}

// errSafe is what everything that leaves as an error holds to.
func errSafe(t *testing.T, status int, reason string, fields []sip.Header) {
	t.Helper()
	if status < 300 || status > 699 || status == 401 || status == 407 || status == 503 || reason == "" || len(reason) > 255 {
		t.Errorf("%d %q", status, reason)
	}
	for _, f := range fields {
		reason += f.Value()
	}
	if strings.ContainsFunc(reason, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Errorf("control character in %q", reason)
	}
}

func FuzzErrorToSIP(f *testing.F) {
	for _, seed := range testdata.Seeds("xmpp") {
		f.Add(seed, false)
	}
	f.Add("<message type='error'><error type='wait'><gone xmlns='"+xep.NSStanzas+"'>tel:+1;a=b</gone><text xmlns='"+xep.NSStanzas+"'>a&#13;&#10;b</text></error></message>", true)
	f.Fuzz(func(t *testing.T, stanza string, flag bool) {
		e, err := xmltree.ParseIn([]byte(stanza), xep.NS, xmltree.Documents)
		if err != nil {
			return
		}
		x := xep.ErrorOf(e)
		status, reason, fields := ErrorToSIP(x, Circumstances{Full: flag, Dialog: flag, Unresolvable: flag, Allow: errAllow})
		errSafe(t, status, reason, fields)
		res := sip.NewResponse(status, reason)
		for _, h := range fields {
			res.AppendHeader(h)
		}
		back := ErrorToXMPP(parseSIP(t, res.String()+"Content-Length: 0\r\n\r\n").(*sip.Response), false)
		if back.Text != reason && back.Text != strings.TrimSpace(reason) {
			t.Errorf("%q comes back as %q", reason, back.Text)
		}
		if back.Address != "" {
			if _, err := ParseXMPP(back.Address); err != nil {
				t.Errorf("%q is no address: %v", back.Address, err)
			}
		}
	})
}
