package gateway_test

import (
	"strings"
	"testing"

	"cpimgate/gateway/gatewaytest"
)

// TestContact: who asks a domain of ours what it is hears how its operators are
// reached, as the settings of the moment say (XEP-0157, section 3; XEP-0128,
// section 2), and nobody is reached by writing to the domain itself (MSG-72,
// TestXMPPDoor and TestSIPDoor).
func TestContact(t *testing.T) {
	w := world(t, gatewaytest.Options{YAML: `contact:
  admin: mailto:ops@example.net
  abuse: ["mailto:abuse@example.net", "xmpp:abuse@example.net?message", "https://example.net/?a&b"]
`})
	const form = "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/network/serverinfo</value></field>"
	asks := func(want string) {
		t.Helper()
		got, err := w.XMPP.Ask(parseStanza(t, "<iq from='juliet@example.com/b' to='example.net' type='get' id='x'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"))
		if err != nil || got.Get("type") != "result" {
			t.Fatal(got, err)
		}
		heard := ""
		if x := got.Child("http://jabber.org/protocol/disco#info", "query").Child("jabber:x:data", "x"); x != nil {
			heard = x.String()
		}
		if heard != want {
			t.Errorf("got\n%s\nwant\n%s", heard, want)
		}
	}
	asks(form + "<field var='abuse-addresses'><value>mailto:abuse@example.net</value><value>xmpp:abuse@example.net?message</value>" +
		"<value>https://example.net/?a&amp;b</value></field><field var='admin-addresses'><value>mailto:ops@example.net</value></field></x>")
	for _, tt := range []struct{ yaml, form string }{
		{"contact: {status: \"https://status.example.net\"}\n", form + "<field var='status-addresses'><value>https://status.example.net</value></field></x>"},
		{"", ""},
	} {
		settings, _, _ := strings.Cut(w.YAML, "contact:")
		if _, _, err := w.Reload(settings + tt.yaml); err != nil {
			t.Fatal(err)
		}
		asks(tt.form)
	}
}
