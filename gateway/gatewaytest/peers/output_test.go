package peers

import (
	"strings"
	"testing"
)

// FuzzStanzasIn reads what a client might print; what it finds was there.
func FuzzStanzasIn(f *testing.F) {
	f.Add("words <message from='a@b' type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>\n2026 a: x\n<message id='2'><body>y</body></message><message ")
	f.Add("<message from='a'")
	f.Fuzz(func(t *testing.T, out string) {
		for _, m := range stanzasIn(out) {
			if !strings.Contains(out, "<message ") {
				t.Errorf("found %v in %q", m, out)
			}
		}
	})
}

// TestOutput reads clients' output: stanzas among words, the answer that
// belongs to a request, and neither before all of it is there.
func TestOutput(t *testing.T) {
	const out = "x\n<message from='a@b/c' type='error'><error><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>y<message from='d@e'><body>&lt;ü</body></message><message from='"
	got := stanzasIn(out)
	if len(got) != 2 || got[0].Condition() != "forbidden" || got[1].Body != "<ü" || got[1].Condition() != "" {
		t.Errorf("got %v", got)
	}

	request := "\nMESSAGE sip:j@x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa;rport\r\nFrom: <sip:romeo@sip.example>;tag=1\r\n"
	other := "\nMESSAGE sip:romeo@h SIP/2.0\r\nVia: SIP/2.0/UDP p;branch=z9hG4bKb\r\nFrom: <sip:juliet@x>;tag=2\r\n\r\nSIP/2.0 200 OK\r\nVia: SIP/2.0/UDP p;branch=z9hG4bKb\r\n"
	answer := "\nSIP/2.0 404 Not Found\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa;rport=5060\r\n"
	for trace, want := range map[string]int{request: 0, request + other: 0, request + other + answer: 404, other + answer: 0} {
		if got := finalStatus(trace, "romeo@sip.example"); got != want {
			t.Errorf("status %d, want %d, in %q", got, want, trace)
		}
	}
}
