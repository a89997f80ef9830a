package trunk

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/federation"
)

func seeds(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("../../cpim/sipx/testdata/rfc4475/*.dat")
	if err != nil || len(files) == 0 {
		f.Fatal("no samples", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\r\n\r\n" + raw("OPTIONS", "1") + raw("MESSAGE", "2", "Content-Type: text/plain", "Content-Length: 3") + "abc"))
	f.Add([]byte(raw("CANCEL", "1") + raw("ACK", "1") + raw("INVITE", "1")))
}

// FuzzListener feeds octets to a listener of a whole trunk. Nothing hangs or
// panics, and what comes back is whole SIP messages.
func FuzzListener(f *testing.F) {
	seeds(f)
	m := newMemory()
	tr := New(Config{TCP: []net.Listener{m}, Name: "gw.example", Book: plain("a.example", ""), Locate: places{}, Handler: ok,
		Limits: federation.Limits{Handshake: 300 * time.Millisecond, Idle: 300 * time.Millisecond}})
	ctx, cancel := context.WithCancel(f.Context())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	<-tr.Ready()
	f.Cleanup(func() { cancel(); <-done })
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		if err := theirs.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		m.conns <- memConn{ours}
		go func() {
			_, _ = theirs.Write(b) // it may be hung up on
			_, _ = theirs.Write([]byte("\r\n\r\nend"))
			_, _ = theirs.Write([]byte("\r\n\r\n")) // no Content-Length: it is over now
		}()
		back, err := io.ReadAll(theirs)
		if err != nil {
			t.Fatalf("hangs: %v", err)
		}
		theirs.Close()
		for back = trimCRLF(back); len(back) > 0; back = trimCRLF(back) {
			n, err := frame(back, false, 1<<20)
			if err != nil {
				t.Fatalf("not a message: %q (%v)", back, err)
			}
			if n == 0 || n > len(back) {
				break // cut off: we closed while another goroutine answered
			}
			msg, err := sipx.Parser(1 << 20).ParseSIP(back[:n])
			if _, isResponse := msg.(*sip.Response); err != nil || !isResponse {
				t.Fatalf("not a response: %q (%v)", back[:n], err)
			}
			back = back[n:]
		}
	})
}

// FuzzFrame: our framing and sipgo's agree, or sipgo refuses: else one peer's
// message could hide another in its body.
func FuzzFrame(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.HasPrefix(b, blank[:2]) {
			return // taken off before
		}
		n, err := frame(b, false, 65535)
		if err != nil || n == 0 || n > len(b) {
			return
		}
		s := sipx.Parser(65535).NewSIPStream()
		defer s.Close()
		if _, err := s.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		_, m, err := s.ParseNext()
		if err == nil && (m != n || s.Buffer().Len() > 0) {
			t.Errorf("we see %d octets, sipgo %d", n, m)
		}
		if err != nil && readable(b[:n]) {
			t.Errorf("readable, but sipgo says: %v", err)
		}
	})
}
