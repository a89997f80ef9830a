package imdn_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"cpimgate/cpim"
	"cpimgate/cpim/fault"
	"cpimgate/cpim/imdn"
	"cpimgate/testdata"
)

// expectation is expect.json of the vectors of RFC 5438.
type expectation struct {
	CPIM struct {
		From     string            `json:"from"`
		To       []string          `json:"to"`
		DateTime string            `json:"datetime"`
		NS       map[string]string `json:"ns"`
		Merged   bool              `json:"merged_mime_headers"`
	} `json:"cpim"`
	IMDN struct {
		MessageID     *string  `json:"message_id"`
		Request       []string `json:"request"`
		Ignored       []string `json:"ignored"`
		RecordRoute   []string `json:"record_route"`
		Notification  *notice  `json:"notification"`
		Notifications []notice `json:"notifications"`
	} `json:"imdn"`
	Content struct {
		MediaType   string `json:"media_type"`
		Disposition string `json:"disposition"`
		Body        string `json:"body"`
	} `json:"content"`
	Reaction struct {
		Send    *bool    `json:"send_imdn"`
		Ignored bool     `json:"record_route_ignored"`
		Headers []string `json:"imdn_headers"`
		SentTo  string   `json:"imdn_sent_to"`
	} `json:"reaction"`
}

type notice struct {
	Type      imdn.Kind   `json:"type"`
	Status    imdn.Status `json:"status"`
	For       string      `json:"for"`
	DateTime  string      `json:"datetime"`
	Recipient string      `json:"recipient"`
	Original  string      `json:"original_recipient"`
}

func TestVectors(t *testing.T) {
	testdata.Vectors(t, "rfc5438", "*", func(t *testing.T, c *testdata.Case) {
		var want expectation
		c.JSON(&want)
		m := parse(t, c.Wire("wire.cpim"))
		checkEnvelope(t, m, &want)
		if id := want.IMDN.MessageID; id != nil && imdn.MessageID(m) != *id {
			t.Errorf("Message-ID %q", imdn.MessageID(m))
		}
		notices := want.IMDN.Notifications
		if want.IMDN.Notification != nil {
			notices = []notice{*want.IMDN.Notification}
		}
		checkNotices(t, m, notices)
		checkRequest(t, m, &want)
	})
}

func checkEnvelope(t *testing.T, m *cpim.Message, want *expectation) {
	t.Helper()
	if e := want.CPIM; e.From != "" && (m.From.URI != e.From || len(m.To) != len(e.To) || m.To[0].URI != e.To[0]) {
		t.Errorf("from %v to %v", m.From, m.To)
	}
	if e := want.CPIM; e.DateTime != "" && m.DateTime.Format(time.RFC3339) != e.DateTime {
		t.Errorf("DateTime %v", m.DateTime)
	}
	for prefix, uri := range want.CPIM.NS {
		if h := m.Get(cpim.Space, "NS"); h == nil || h.Value != prefix+" <"+uri+">" {
			t.Errorf("NS %v", h)
		}
	}
	if want.CPIM.Merged != (m.Deviations == 1) {
		t.Errorf("%d deviations", m.Deviations)
	}
	if want.Content.MediaType != "" && m.Content.Media().Type != want.Content.MediaType {
		t.Errorf("media type %v", m.Content.Media())
	}
	if d, _ := m.Content.Disposition(); want.Content.Disposition != "" && d != want.Content.Disposition {
		t.Errorf("disposition %q", d)
	}
	if want.Content.Body != "" && string(m.Content.Body) != want.Content.Body {
		t.Errorf("body %q", m.Content.Body)
	}
}

func checkNotices(t *testing.T, m *cpim.Message, want []notice) {
	t.Helper()
	got, err := imdn.Of(m)
	if err != nil || len(got) != len(want) || imdn.Is(m) != (len(want) > 0) {
		t.Fatalf("%d notifications, want %d: %v", len(got), len(want), err)
	}
	for i, n := range got {
		is := notice{n.Kind, n.Status, n.MessageID, n.DateTime.Format(time.RFC3339), n.Recipient, n.OriginalRecipient}
		if want[i].DateTime == "" {
			is.DateTime, is.Recipient, is.Original = "", "", ""
		}
		if is != want[i] {
			t.Errorf("%d: %+v, want %+v", i, is, want[i])
		}
		b, err := n.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := imdn.Parse(b); err != nil || !same(n, again) {
			t.Errorf("written as %s: %+v, %v", b, again, err)
		}
	}
}

func same(a, b *imdn.Notification) bool {
	x, y := *a, *b
	x.DateTime, y.DateTime = time.Time{}, time.Time{}
	return x == y && a.DateTime.Equal(b.DateTime)
}

func checkRequest(t *testing.T, m *cpim.Message, want *expectation) {
	t.Helper()
	r := imdn.RequestOf(m)
	if len(want.IMDN.Request) == 0 {
		if r != nil {
			t.Errorf("asks for %+v", r)
		}
		if want.Reaction.Ignored && (want.Reaction.Send == nil || *want.Reaction.Send) {
			t.Error("a notification must not be answered")
		}
		return
	}
	if r == nil {
		t.Fatal("asks for nothing")
	}
	var asked []string
	for name, is := range map[string]bool{"positive-delivery": r.Positive, "negative-delivery": r.Negative, "processing": r.Processing, "display": r.Display} {
		if is {
			asked = append(asked, name)
		}
	}
	if slices.Sort(asked); !slices.Equal(asked, slices.Sorted(slices.Values(want.IMDN.Request))) || !slices.Equal(r.Ignored, want.IMDN.Ignored) {
		t.Errorf("asks for %v and %v", asked, r.Ignored)
	}
	if !slices.Equal(r.Route, want.IMDN.RecordRoute) || r.Target() != cmp.Or(want.Reaction.SentTo, m.From.URI) {
		t.Errorf("way back %v, first %s", r.Route, r.Target())
	}
	answer, err := r.Answer(imdn.Display, imdn.Displayed, "own-id")
	if err != nil {
		t.Fatal(err)
	}
	b, err := answer.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Join(want.Reaction.Headers, "\r\n"); !strings.Contains(string(b), lines) {
		t.Errorf("no %q in\n%s", lines, b)
	}
}

func parse(t *testing.T, s string) *cpim.Message {
	t.Helper()
	m, err := cpim.Parse([]byte(s))
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return m
}

// message is a message with these headers of the namespace of RFC 5438.
func message(t *testing.T, headers ...string) *cpim.Message {
	t.Helper()
	return parse(t, "From: Alice <im:alice@h.example>\r\nTo: <im:bob@h.example>\r\nNS: i <urn:ietf:params:imdn>\r\n"+
		strings.Join(headers, "\r\n")+"\r\n\r\nContent-Type: text/plain\r\n\r\nhi")
}

const (
	id   = "i.Message-ID: 1234567890abcdef"
	date = "DateTime: 2026-01-02T03:04:05+01:00"
	ask  = "i.Disposition-Notification: positive-delivery"
)

func TestRequestOf(t *testing.T) {
	for name, c := range map[string]struct {
		headers []string
		asks    bool
	}{
		"all there":           {[]string{id, date, ask}, true},
		"no Message-ID":       {[]string{date, ask}, false},
		"empty Message-ID":    {[]string{"i.Message-ID: ", date, ask}, false},
		"with @ and colon":    {[]string{"i.Message-ID: <a:b@h>", date, ask}, true},
		"blank in Message-ID": {[]string{"i.Message-ID: a b", date, ask}, false},
		"control in it":       {[]string{`i.Message-ID: a\u0001`, date, ask}, false},
		"long Message-ID":     {[]string{"i.Message-ID: " + strings.Repeat("x", 255), date, ask}, true},
		"too long Message-ID": {[]string{"i.Message-ID: " + strings.Repeat("x", 256), date, ask}, false},
		"no DateTime":         {[]string{id, ask}, false},
		"bad DateTime":        {[]string{id, "DateTime: yesterday", ask}, false},
		"no request":          {[]string{id, date}, false},
		"empty request":       {[]string{id, date, "i.Disposition-Notification: "}, false},
		"unknown only":        {[]string{id, date, "i.Disposition-Notification: telepathy"}, false},
		"wrong case":          {[]string{id, date, "i.Disposition-Notification: Display"}, false},
		"name in wrong case":  {[]string{id, date, "i.disposition-notification: display"}, false},
		"another namespace":   {[]string{id, date, "NS: j <urn:x:y>", "j.Disposition-Notification: display"}, false},
		"literal imdn":        {[]string{id, date, "imdn.Disposition-Notification: display"}, false},
		"commas and blanks":   {[]string{id, date, "i.Disposition-Notification: ,x , display;p=1;q=\"2\" ,"}, true},
		"two headers":         {[]string{id, date, "i.Disposition-Notification: x", "i.Disposition-Notification: display"}, true},
		"broken way back":     {[]string{id, date, ask, "i.IMDN-Record-Route: nowhere"}, false},
		"way back of eight":   {append([]string{id, date, ask}, slices.Repeat([]string{"i.IMDN-Record-Route: <im:x@h>"}, 8)...), true},
		"way back of nine":    {append([]string{id, date, ask}, slices.Repeat([]string{"i.IMDN-Record-Route: <im:x@h>"}, 9)...), false},
		"one Original-To":     {[]string{id, date, ask, "i.Original-To: Bob <im:b@h>"}, true},
		"two Original-To":     {[]string{id, date, ask, "i.Original-To: <im:b@h>", "i.Original-To: <im:c@h>"}, false},
		"Original-To, no URI": {[]string{id, date, ask, "i.Original-To: b"}, false},
	} {
		if r := imdn.RequestOf(message(t, c.headers...)); (r != nil) != c.asks {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if imdn.RequestOf(&cpim.Message{DateTime: time.Now()}) != nil {
		t.Error("a message to nobody asks for something")
	}
}

// TestAsk: what is asked is read as asked.
func TestAsk(t *testing.T) {
	m := message(t, date)
	(&imdn.Request{Positive: true, Negative: true, Processing: true, Display: true}).Ask(m, "f00")
	b, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	want := "NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: f00\r\n" +
		"imdn.Disposition-Notification: positive-delivery, negative-delivery, processing, display\r\n"
	if !strings.Contains(string(b), want) {
		t.Errorf("%s", b)
	}
	r := imdn.RequestOf(parse(t, string(b)))
	if r == nil || r.MessageID != "f00" || !r.Positive || !r.Negative || !r.Processing || !r.Display {
		t.Errorf("%+v", r)
	}
	m = message(t, date)
	(&imdn.Request{}).Ask(m, "f00")
	if h := m.Get(cpim.IMDN, "Disposition-Notification"); h != nil || imdn.MessageID(m) != "f00" {
		t.Errorf("asks for nothing: %v", h)
	}
}

// TestAnswer is the golden form of a notification (RFC 5438, section 7.2.1): no
// request is copied, the way back is.
func TestAnswer(t *testing.T) {
	for _, original := range []string{"", "im:alias@h.example"} {
		headers := []string{id, date, ask, "Subject:;lang=en Lunch?", "i.IMDN-Record-Route: S <sip:s2@h.example>", "i.IMDN-Record-Route: <sip:s1@h.example>"}
		if original != "" {
			headers = append(headers, "i.Original-To: <"+original+">")
		}
		r := imdn.RequestOf(message(t, headers...))
		if r.Target() != "sip:s2@h.example" {
			t.Errorf("goes to %s", r.Target())
		}
		m, err := r.Answer(imdn.Delivery, imdn.Delivered, "fedcba0987654321")
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		want := strings.ReplaceAll(`From: <im:bob@h.example>
To: Alice <im:alice@h.example>
NS: imdn <urn:ietf:params:imdn>
imdn.Message-ID: fedcba0987654321
imdn.IMDN-Route: <sip:s2@h.example>
imdn.IMDN-Route: <sip:s1@h.example>

Content-Type: message/imdn+xml
Content-Disposition: notification

`, "\n", "\r\n") + `<?xml version="1.0" encoding="UTF-8"?>
<imdn xmlns='urn:ietf:params:xml:ns:imdn'><message-id>1234567890abcdef</message-id><datetime>2026-01-02T03:04:05+01:00</datetime>` +
			`<recipient-uri>im:bob@h.example</recipient-uri><original-recipient-uri>` + cmp.Or(original, "im:bob@h.example") + `</original-recipient-uri>` +
			`<subject xml:lang='en'>Lunch?</subject><delivery-notification><status><delivered/></status></delivery-notification></imdn>`
		if string(got) != want {
			t.Errorf("written\n%s\nwant\n%s", got, want)
		}
		back := parse(t, string(got))
		if route, err := imdn.RouteOf(back); err != nil || !slices.Equal(route, r.Route) {
			t.Errorf("route %v, %v", route, err)
		}
		if imdn.RequestOf(back) != nil {
			t.Error("the notification asks for one")
		}
	}
	r := imdn.RequestOf(message(t, id, date, ask))
	for name, f := range map[string]func() (*cpim.Message, error){
		"wrong status":        func() (*cpim.Message, error) { return r.Answer(imdn.Display, imdn.Delivered, "x") },
		"no id":               func() (*cpim.Message, error) { return r.Answer(imdn.Delivery, imdn.Delivered, "") },
		"nothing to be about": func() (*cpim.Message, error) { return (&imdn.Request{}).Answer(imdn.Delivery, imdn.Delivered, "x") },
	} {
		if m, err := f(); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

// TestHidden: a hidden recipient is in no element, and a subject needs them.
func TestHidden(t *testing.T) {
	n := &imdn.Notification{MessageID: "a<b", DateTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Subject: cpim.Text{Text: "s"}, Kind: imdn.Processing, Status: imdn.Stored}
	b, err := n.Bytes()
	if err != nil || strings.Contains(string(b), "-uri") || strings.Contains(string(b), "subject") || !strings.Contains(string(b), "<message-id>a&lt;b</message-id>") {
		t.Errorf("%s, %v", b, err)
	}
	n.OriginalRecipient = "im:x@h"
	if b, err = n.Bytes(); err != nil || strings.Count(string(b), ">im:x@h<") != 2 {
		t.Errorf("the schema wants both: %s, %v", b, err)
	}
}

func TestRoute(t *testing.T) {
	if route, err := imdn.RouteOf(message(t, id)); route != nil || err != nil {
		t.Errorf("%v, %v", route, err)
	}
	for _, headers := range [][]string{{"i.IMDN-Route: nowhere"}, slices.Repeat([]string{"i.IMDN-Route: <im:x@h>"}, 9)} {
		if route, err := imdn.RouteOf(message(t, headers...)); fault.KindOf(err) != fault.Malformed {
			t.Errorf("%v, %v", route, err)
		}
	}
}

// document is a notification with this content after Message-ID and time.
func document(rest string) string {
	return `<imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>1</message-id><datetime>2008-04-04T12:16:49-05:00</datetime>` + rest + `</imdn>`
}

func TestParse(t *testing.T) {
	for kind, statuses := range map[imdn.Kind][]imdn.Status{
		imdn.Delivery:   {imdn.Delivered, imdn.Failed, imdn.Forbidden, imdn.Error},
		imdn.Processing: {imdn.Processed, imdn.Stored, imdn.Forbidden, imdn.Error},
		imdn.Display:    {imdn.Displayed, imdn.Forbidden, imdn.Error},
	} {
		for _, status := range []imdn.Status{imdn.Delivered, imdn.Failed, imdn.Processed, imdn.Stored, imdn.Displayed, imdn.Forbidden, imdn.Error, "read"} {
			n, err := imdn.Parse([]byte(document("<" + string(kind) + "-notification><status><" + string(status) + "/></status></" + string(kind) + "-notification>")))
			if ok := slices.Contains(statuses, status); ok != (err == nil) || ok && (n.Kind != kind || n.Status != status) {
				t.Errorf("%s %s: %+v, %v", kind, status, n, err)
			}
		}
	}
	const delivered = "<delivery-notification><status><x:y xmlns:x='u:x'/><delivered/></status></delivery-notification>"
	for name, rest := range map[string]string{
		"recipient alone": "<recipient-uri> im:b@h </recipient-uri>" + delivered,
		"original alone":  "<original-recipient-uri>im:b@h</original-recipient-uri>" + delivered,
		"another order":   delivered + "<subject xml:lang='fr'>s</subject>",
		"extension":       "<x:recipient-uri xmlns:x='u:x'>evil</x:recipient-uri>" + delivered + "<x:more xmlns:x='u:x'><delivered/></x:more>",
	} {
		n, err := imdn.Parse([]byte(document(rest)))
		if err != nil || n.Status != imdn.Delivered || n.MessageID != "1" || n.DateTime.Format(time.RFC3339) != "2008-04-04T12:16:49-05:00" || strings.Contains(n.Recipient, "evil") {
			t.Errorf("%s: %+v, %v", name, n, err)
		}
	}
	n, err := imdn.Parse([]byte(strings.Replace(document(delivered), "2008-04-04T12:16:49-05:00", "some day", 1)))
	if err != nil || !n.DateTime.IsZero() {
		t.Errorf("the time is not needed to find the message: %+v, %v", n, err)
	}
}

func TestRefused(t *testing.T) {
	const delivered = "<delivery-notification><status><delivered/></status></delivery-notification>"
	for name, in := range map[string]string{
		"no XML":               "delivered",
		"another element":      "<imdn/>",
		"no notification":      document(""),
		"two notifications":    document(delivered + "<display-notification><status><displayed/></status></display-notification>"),
		"twice the same":       document(delivered + delivered),
		"two statuses":         document("<delivery-notification><status><delivered/><failed/></status></delivery-notification>"),
		"no status":            document("<delivery-notification/>"),
		"empty status":         document("<delivery-notification><status/></delivery-notification>"),
		"unknown notification": document("<typing-notification><status><delivered/></status></typing-notification>"),
		"unknown element":      document(delivered + "<mood/>"),
		"no Message-ID":        strings.Replace(document(delivered), "<message-id>1</message-id>", "", 1),
		"empty Message-ID":     strings.Replace(document(delivered), "<message-id>1", "<message-id> ", 1),
		"two Message-IDs":      document("<message-id>2</message-id>" + delivered),
		"no time":              strings.Replace(document(delivered), "datetime", "date", 2),
		"entity bomb":          `<!DOCTYPE imdn [<!ENTITY a "b"><!ENTITY c "&a;&a;">]>` + document(delivered),
		"too large":            document("<subject>" + strings.Repeat("x", 64<<10) + "</subject>" + delivered),
	} {
		if n, err := imdn.Parse([]byte(in)); fault.KindOf(err) != fault.Malformed {
			t.Errorf("%s: %+v, %v", name, n, err)
		}
	}
}

// TestMixed: a payload of a message and a notification is a message; of two
// notifications of which one is broken, the other counts.
func TestMixed(t *testing.T) {
	const envelope = "From: <im:a@h>\r\nTo: <im:b@h>\r\n\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
	const good = "--b\r\nContent-Type: message/imdn+xml\r\n\r\n"
	delivered := document("<delivery-notification><status><delivered/></status></delivery-notification>")
	m := parse(t, envelope+good+delivered+"\r\n--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b--")
	if all, err := imdn.Of(m); imdn.Is(m) || len(all) != 0 || err != nil {
		t.Errorf("beside a text: %v, %v", all, err)
	}
	m = parse(t, envelope+good+"broken\r\n"+good+delivered+"\r\n--b--")
	if all, err := imdn.Of(m); !imdn.Is(m) || len(all) != 1 || fault.KindOf(err) != fault.Malformed {
		t.Errorf("beside a broken one: %v, %v", all, err)
	}
	m = parse(t, envelope+"no parts")
	if all, err := imdn.Of(m); imdn.Is(m) || len(all) != 0 || err != nil {
		t.Errorf("no multipart: %v, %v", all, err)
	}
	packed := parse(t, "From: <im:a@h>\r\nTo: <im:b@h>\r\n\r\nContent-Type: message/imdn+xml\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"+strings.ReplaceAll(delivered, "=", "=3D"))
	if all, err := imdn.Of(packed); len(all) != 1 || err != nil {
		t.Errorf("quoted-printable: %v, %v", all, err)
	}
}

// FuzzParse: what is accepted is written, if it has a time, and accepted again
// as the same.
func FuzzParse(f *testing.F) {
	for _, s := range testdata.Seeds("cpim") {
		if m, err := cpim.Parse([]byte(s)); err == nil {
			f.Add(m.Content.Body)
		}
	}
	f.Add([]byte(document("<subject xml:lang='fr'> s\n</subject><recipient-uri>im:b@h</recipient-uri><display-notification><status><error/></status></display-notification>")))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := imdn.Parse(b)
		if err != nil || n.DateTime.IsZero() {
			return
		}
		written, err := n.Bytes()
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if n.Recipient == "" {
			n.Recipient = n.OriginalRecipient
		}
		if n.OriginalRecipient == "" {
			n.OriginalRecipient = n.Recipient
		}
		if n.Recipient == "" || n.Subject.Text == "" {
			n.Subject = cpim.Text{}
		}
		if again, err := imdn.Parse(written); err != nil || !same(n, again) {
			t.Fatalf("%q written as %q: %+v, %v", b, written, again, err)
		}
	})
}

// FuzzHeaders: no headers of a message break the reader, and what it asks for
// can be answered.
func FuzzHeaders(f *testing.F) {
	for _, s := range testdata.Seeds("cpim") {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := cpim.Parse(b)
		if err != nil {
			return
		}
		imdn.Of(m)
		imdn.RouteOf(m)
		r := imdn.RequestOf(m)
		if r == nil {
			return
		}
		answer, err := r.Answer(imdn.Delivery, imdn.Failed, "1")
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		written, err := answer.Bytes()
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		back, err := cpim.Parse(written)
		if err != nil {
			t.Fatalf("%q answered with %q: %v", b, written, err)
		}
		all, err := imdn.Of(back)
		if err != nil || len(all) != 1 || imdn.RequestOf(back) != nil {
			t.Fatalf("%q answered with %q: %v, %v", b, written, all, err)
		}
		if got := all[0].MessageID; got != strings.TrimSpace(got) || got == "" {
			t.Fatalf("%q answered about %q", b, got)
		}
	})
}
