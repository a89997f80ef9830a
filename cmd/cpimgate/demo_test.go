package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"cpimgate/federation"
)

// TestDemo plays the demo as the command does. The ladder says what crossed, on
// the side where it did.
func TestDemo(t *testing.T) {
	defer goleak.VerifyNone(t)
	var out bytes.Buffer
	if err := (demoCommand{}).play(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	rest := out.String()
	for _, want := range []string{
		"montague.example ", "cpimgate ", "capulet.example\n",
		"1. Juliet",
		"│ from juliet@capulet.example/balcony ", "Pourquoi es-tu Roméo ? 🌹”", "── STARTTLS ──┤", "\n │ MESSAGE sip:romeo@montague.example ",
		"=> Juliet hears of no error",
		"2. Romeo",
		"\n │ MESSAGE sip:juliet@capulet.example ", "\n ├── TLS ────", "────>│  ",
		"│ to juliet@capulet.example ", "├── STARTTLS ────",
		"\n │ 200 OK ", "\n │<────", "── TLS ──┤  ",
		"=> Romeo learns: 200 OK",
		"3. Romeo",
		"塀を飛び越えて",
		"4. Romeo",
		"│ message error: service-unavailable ", "\n │ 403 ", "=> Romeo learns: 403 ",
		"5. Juliet",
		"\n │ 404 Not Found ", "│ message error: item-not-found ", "=> Juliet learns: item-not-found",
		"6. Romeo",
		"\n │ MESSAGE sip:juliet@nowhere.example ", "\n │ 404 ", "=> Romeo learns: 404 ",
		"6 messages in ",
	} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("%q is not there, or not in its place:\n%s", want, out.String())
		}
		rest = after
	}
	for line := range strings.Lines(out.String()) {
		if n := columns(strings.TrimSuffix(line, "\n")); n > 100 {
			t.Errorf("%d columns: %s", n, line)
		}
		if strings.ContainsRune(line, '\x1b') {
			t.Errorf("%q has a colour", line)
		}
	}
}

// TestDemoVerbose: the wire text stands below the arrows, and the gateway's log
// between them.
func TestDemoVerbose(t *testing.T) {
	defer goleak.VerifyNone(t)
	var out bytes.Buffer
	if err := (demoCommand{Verbose: true}).play(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		"\n     MESSAGE sip:juliet@capulet.example SIP/2.0\n     Via: SIP/2.0/TLS ", "\n     <message from='romeo@montague.example'",
		`   · msg="peer up" peer=capulet.example`, "   · msg=message way=sip-xmpp",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not there:\n%s", want, out.String())
		}
	}
}

// TestStay: the domains stay, say where they are, and show what crosses.
func TestStay(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { // the test waits for done
		done <- demoCommand{Stay: true, SIP: "127.0.0.1:0", XMPP: "127.0.0.1:0"}.play(ctx, w)
		w.Close()
	}()
	var out strings.Builder
	b := make([]byte, 4096)
	for !strings.Contains(out.String(), "Who is not logged in") {
		n, err := r.Read(b)
		if err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		out.Write(b[:n])
	}
	for _, want := range []string{`\(outbound proxy\)   127\.0\.0\.1:[1-9]`, `baresip -4 -f /`, `-j 127\.0\.0\.1:[1-9]\d+ romeo@`} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("%q is not there:\n%s", want, out.String())
		}
	}
	stop()
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestDemoFails: what is not as it should be is said, and is an error.
func TestDemoFails(t *testing.T) {
	var out bytes.Buffer
	s := &show{ladder: newLadder(&out, false)}
	s.report(verdict{"Romeo learns nothing.", errors.New("no answer")})
	if s.failed != 1 || !strings.Contains(out.String(), "=> Romeo learns nothing.\n=> NOT AS IT SHOULD BE: no answer\n") {
		t.Errorf("%d failed:\n%s", s.failed, out.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.await(ctx, []string{"SIP in 200"}); err == nil {
		t.Error("what never came was there")
	}
	if err := (demoCommand{Stay: true, SIP: "192.0.2.1:5060"}).play(t.Context(), &out); err == nil {
		t.Error("a door without a lock was opened to the world")
	}
}

// TestDemoIsTest: an act that ends otherwise than it should is an error.
func TestDemoIsTest(t *testing.T) {
	defer goleak.VerifyNone(t)
	var out bytes.Buffer
	err := demoCommand{}.perform(t.Context(), &out, []act{
		{title: "taken, not refused", to: "romeo@montague.example", text: "a", refused: "gone"},
		{title: "taken, not refused", toXMPP: true, to: "juliet@capulet.example", text: "b", refused: "403"},
		{title: "refused, not taken", toXMPP: true, to: "rosaline@capulet.example", text: "c"},
		{title: "refused otherwise", to: "mercutio@montague.example", text: "d", refused: "gone"},
		{title: "as it should be", to: "mercutio@montague.example", text: "e", refused: "item-not-found"},
	})
	if err == nil || !strings.Contains(err.Error(), "4 things") || strings.Count(out.String(), "NOT AS IT SHOULD BE") != 4 {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// TestLadder draws what the demo does not have.
func TestLadder(t *testing.T) {
	var out bytes.Buffer
	l := newLadder(&out, false)
	stanza := func(out bool, text string) {
		l.trace(federation.Record{Wire: federation.XMPP, Out: out, Via: federation.TLS, Text: []byte(text)})
	}
	stanza(true, "<message id='1' from='a@x' to='b@y'/>")
	stanza(false, "<message type='error' id='1' from='b@y' to='a@x'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
	stanza(true, "<presence from='a@x' to='b@y' type='subscribe'/>")
	stanza(true, "not \x1b[31mXML")
	l.trace(federation.Record{Wire: federation.SIP, Via: federation.UDP, Text: []byte("not SIP\r\n")})
	slog.New(l.log()).Info("hello", "peer", strings.Repeat("p", 120))
	l.print(l.take())
	const want = `
 │                                               │ message                                       │
 │                                               │ to b@y                                        │
 │                                               │ from a@x                                      │
 │                                               ├── TLS ───────────────────────────────────────>│
 │                                               │ message error: gone                           │
 │                                               │ to a@x                                        │
 │                                               │ from b@y                                      │
 │                                               │<─────────────────────────────────────── TLS ──┤
 │                                               │ presence subscribe                            │
 │                                               │ to b@y                                        │
 │                                               │ from a@x                                      │
 │                                               ├── TLS ───────────────────────────────────────>│
 │                                               │ not [31mXML                                   │
 │                                               ├── TLS ───────────────────────────────────────>│
 │ not SIP                                       │                                               │
 ├── UDP, no TLS ───────────────────────────────>│                                               │
   · msg=hello peer=ppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp
   · ppppppppppppppppppppppppppppppppppppppppppppp
`
	if got := "\n" + out.String(); got != want {
		t.Errorf("%s\nwant%s", got, want)
	}
	if rest := l.take(); len(rest) > 0 {
		t.Errorf("twice: %v", rest)
	}
}

func TestFold(t *testing.T) {
	for _, tt := range []struct {
		text  string
		limit int
		want  string
	}{
		{"", 5, ""},
		{"short", 5, "short"},
		{"two words", 8, "two word|s"},
		{"some words here", 12, "some words|here"},
		{"日本語", 5, "日本|語"},
		{"e\u0301e\u0301e\u0301", 2, "e\u0301e\u0301|e\u0301"},
	} {
		if got := strings.Join(fold(tt.text, tt.limit), "|"); got != tt.want {
			t.Errorf("%q in %d: %q, want %q", tt.text, tt.limit, got, tt.want)
		}
	}
}
