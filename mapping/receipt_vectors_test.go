package mapping

import (
	"slices"
	"strings"
	"testing"

	"mellium.im/xmpp/jid"

	"cpimgate/cpim/imdn"
	"cpimgate/testdata"
)

// notice is what the vectors of RFC 5438 say of one notification.
type notice struct {
	Type, Status, For, Datetime, Recipient string
	Original                               string `json:"original_recipient"`
}

// expected is expect.json of RFC 5438.
type expected struct {
	CPIM struct {
		From, Datetime string
		To             []string
		NS             map[string]string
		Merged         bool `json:"merged_mime_headers"`
	}
	IMDN struct {
		MessageID     *string `json:"message_id"`
		Request       []string
		Ignored       []string
		RecordRoute   []string `json:"record_route"`
		Notification  *notice
		Notifications []notice
	}
	Content struct {
		MediaType         string `json:"media_type"`
		Body, Disposition string
	}
	Reaction struct {
		Send    *bool    `json:"send_imdn"`
		Headers []string `json:"imdn_headers"`
		SentTo  string   `json:"imdn_sent_to"`
		Ignored bool     `json:"record_route_ignored"`
	}
}

// TestNoticeVectors plays the objects of RFC 5438 in pager mode.
func TestNoticeVectors(t *testing.T) {
	testdata.Vectors(t, "rfc5438", "*", func(t *testing.T, c *testdata.Case) {
		var want expected
		c.JSON(&want)
		object := c.Wire("wire.cpim")
		in, err := toXMPP(t, carrying(t, "Content-Type: message/cpim\r\n\r\n"+object), XMPPOptions{ID: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if want.Content.Body != "" && in.Stanza.Bodies[0].Value != want.Content.Body {
			t.Errorf("body is %q", in.Stanza.Bodies)
		}
		if n := want.IMDN.Notification; n != nil {
			want.IMDN.Notifications = append(want.IMDN.Notifications, *n)
		}
		if len(in.Notices) != len(want.IMDN.Notifications) || len(in.Notices) > 0 && (in.Stanza != nil || in.Asked != nil) {
			t.Fatalf("read %+v", in)
		}
		for i, n := range want.IMDN.Notifications {
			checkNotice(t, in.Notices[i], n)
		}
		if len(in.Notices) == 0 {
			checkAsked(t, in, &want)
		}
	})
}

// checkNotice maps one notification to the receipt or marker that it is.
func checkNotice(t *testing.T, got *imdn.Notification, want notice) {
	t.Helper()
	if got.MessageID != want.For || string(got.Kind) != want.Type || string(got.Status) != want.Status {
		t.Errorf("read %+v, want %+v", got, want)
	}
	stanza := map[string]string{
		"delivered": `<message from='bob@example.com' to='alice@example.com'><received xmlns='urn:xmpp:receipts' id='s1'/></message>`,
		"displayed": `<message from='bob@example.com' to='alice@example.com'><displayed xmlns='urn:xmpp:chat-markers:0' id='s1'/></message>`,
	}[want.Status]
	m := NoticeToXMPP(got, "s1", "", jid.MustParse("bob@example.com"), jid.MustParse("alice@example.com"))
	if stanza != "" {
		equalStanza(t, m, stanza)
	} else if m != nil {
		t.Errorf("%s gave %+v", want.Status, m)
	}
}

// checkAsked checks what is asked, and that the answer goes the way that was
// recorded.
func checkAsked(t *testing.T, in *Incoming, want *expected) {
	t.Helper()
	var asked []string
	for name, is := range map[string]bool{
		"positive-delivery": in.Asked.Positive, "negative-delivery": in.Asked.Negative,
		"processing": in.Asked.Processing, "display": in.Asked.Display,
	} {
		if is {
			asked = append(asked, name)
		}
	}
	slices.Sort(asked)
	slices.Sort(want.IMDN.Request)
	if !slices.Equal(asked, want.IMDN.Request) || want.IMDN.MessageID == nil || in.Asked.MessageID != *want.IMDN.MessageID {
		t.Errorf("asked %v as %q", asked, in.Asked.MessageID)
	}
	if in.Stanza.Request != in.Asked.Positive || in.Stanza.Markable != in.Asked.Display {
		t.Errorf("stanza asks request %v, markable %v", in.Stanza.Request, in.Stanza.Markable)
	}
	if len(want.Reaction.Headers) == 0 {
		return
	}
	req, err := NoticeToSIP(in.Asked, imdn.Delivery, imdn.Delivered, "own1", uriOf(t, in.Stanza.To), uriOf(t, in.Stanza.From), "")
	if err != nil {
		t.Fatal(err)
	}
	if req.Recipient.String() != want.Reaction.SentTo {
		t.Errorf("sent to %s", req.Recipient.String())
	}
	if i := strings.Index(string(req.Body()), strings.Join(want.Reaction.Headers, "\r\n")+"\r\n"); i < 0 {
		t.Errorf("no %q in\n%s", want.Reaction.Headers, req.Body())
	}
}
