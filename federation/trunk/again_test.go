package trunk

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/federation"
)

// TestRepeatedElsewhere repeats a message in another transaction, as a proxy
// does that was restarted (RFC 2779, section 5.4.2).
func TestRepeatedElsewhere(t *testing.T) {
	status, served := 200, 0
	_, w := server(t, Config{Handler: serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
		served++
		return tx.Answer(Reply(req, status, "as ordered"))
	})})
	rows := []struct {
		what   string
		fields []string
		next   int // what the Handler would answer
		want   int
		served int
	}{
		{"first", []string{"Call-ID: a"}, 200, 200, 1},
		{"copy", []string{"Call-ID: a"}, 500, 200, 1},
		{"next of the sender", []string{"Call-ID: a", "CSeq: 2 MESSAGE"}, 202, 202, 2},
		{"copy of that", []string{"Call-ID: a", "CSeq: 2 MESSAGE"}, 500, 202, 2},
		{"from another device", []string{"Call-ID: a", "From: <sip:romeo@a.example>;tag=2"}, 200, 200, 3},
		{"other words", []string{"Call-ID: a", "Content-Type: text/plain", "Content-Length: 2\r\n\r\nhi"}, 200, 200, 4},
		{"refused", []string{"Call-ID: b"}, 480, 480, 5},
		{"tried again", []string{"Call-ID: b"}, 200, 200, 6},
	}
	for i, r := range rows {
		status = r.next
		text := strings.TrimSuffix(raw("MESSAGE", fmt.Sprint("elsewhere", i), r.fields...), "\r\n\r\n")
		if !strings.HasSuffix(text, "hi") {
			text += "\r\n\r\n"
		}
		if res := w.ask(text); res.StatusCode != r.want || res.Reason != "as ordered" || served != r.served {
			t.Errorf("%s: %d %s, served %d", r.what, res.StatusCode, res.Reason, served)
		}
	}
}

// TestRepeatedLate: a message is taken once for as long as clients repeat it
// (RFC 3261, section 17.1.2.2).
func TestRepeatedLate(t *testing.T) {
	served := 0
	ok := serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
		served++
		return tx.Answer(Reply(req, sip.StatusOK, "OK"))
	})
	bubble(t, Config{Handler: ok}, func(t *testing.T, _ *Trunk, m *memory, _ *memPacket) {
		w := m.dial(t)
		for i, want := range []int{1, 1, 2} {
			go func() { _, _ = w.Write([]byte(raw("MESSAGE", fmt.Sprint(i), "Call-ID: a"))) }()
			if s := w.status(); s != 200 || served != want {
				t.Errorf("%d: %d, served %d", i, s, served)
			}
			time.Sleep(takenTime/2 + time.Second)
		}
	})
}
