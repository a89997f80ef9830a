package gatewaytest

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/federation"
	"cpimgate/testdata"
)

// client is who registers: over UDP from another port than its contact's.
var client = federation.Peer{Addr: netip.MustParseAddrPort("127.0.0.1:4000"), Via: federation.UDP}

func registration(t *testing.T, user, fields string) *sip.Request {
	t.Helper()
	msg, err := sipx.Parser(1 << 16).ParseSIP([]byte(testdata.CRLF(fmt.Sprintf(`REGISTER sip:example.net SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:4000;branch=z9hG4bK1
From: <sip:%s@example.net>;tag=1
To: <sip:%[1]s@example.net>
Call-ID: 1
CSeq: 1 REGISTER
%sContent-Length: 0

`, user, fields))))
	if err != nil {
		t.Fatal(err)
	}
	return msg.(*sip.Request)
}

func TestRegister(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	tests := []struct {
		name   string
		fields string
		status int
		want   string        // the contacts, as the answer lists them
		lives  time.Duration // the last of them
	}{
		{"parameter", "Contact: <sip:romeo@127.0.0.1:4001>;expires=600\nExpires: 20\n", 200, "<sip:romeo@127.0.0.1:4001>;expires=600", 600 * time.Second},
		{"header", "Contact: <sip:romeo@127.0.0.1:4001>\nExpires: 20\n", 200, "<sip:romeo@127.0.0.1:4001>;expires=20", 20 * time.Second},
		{"neither", "Contact: <sip:romeo@127.0.0.1:4001>\n", 200, "<sip:romeo@127.0.0.1:4001>;expires=3600", time.Hour},
		{"too long", "Contact: <sip:romeo@127.0.0.1:4001>;expires=90000\n", 200, "<sip:romeo@127.0.0.1:4001>;expires=3600", time.Hour},
		{"two", "Contact: <sip:a@127.0.0.1>;expires=60\nContact: <sip:b@127.0.0.1>;expires=90\n", 200,
			"<sip:a@127.0.0.1>;expires=60 <sip:b@127.0.0.1>;expires=90", 90 * time.Second},
		{"gone", "Contact: <sip:a@127.0.0.1>;expires=60\nContact: <sip:a@127.0.0.1>;expires=0\n", 200, "", 0},
		{"all gone", "Contact: <sip:a@127.0.0.1>;expires=60\nContact: *\nExpires: 0\n", 200, "", 0},
		{"question", "", 200, "", 0},
		{"too many", strings.Repeat("Contact: <sip:%@127.0.0.1>;expires=60\n", maxContacts+1), 503, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &registrar{domain: "example.net", users: map[string][]binding{}}
			fields := tt.fields
			for i := 0; strings.Contains(fields, "%"); i++ {
				fields = strings.Replace(fields, "%", fmt.Sprint("c", i), 1)
			}
			res := r.register(registration(t, "romeo", fields), client, now)
			var got []string
			for _, h := range res.GetHeaders("Contact") {
				got = append(got, h.Value())
			}
			if res.StatusCode != tt.status || strings.Join(got, " ") != tt.want {
				t.Errorf("%d %q, want %d %q", res.StatusCode, got, tt.status, tt.want)
			}
			if tt.lives == 0 {
				return
			}
			if list, known := r.lookup("romeo", now.Add(tt.lives-1)); !known || len(list) == 0 {
				t.Error("it is gone too early")
			}
			if list, known := r.lookup("romeo", now.Add(tt.lives)); !known || len(list) > 0 {
				t.Errorf("it is still there: %v", list)
			}
		})
	}
}

// TestRegisterOthers: one registers for oneself, in this domain, and not
// without end.
func TestRegisterOthers(t *testing.T) {
	r := &registrar{domain: "example.net", users: map[string][]binding{}}
	contact := "Contact: <sip:c@127.0.0.1:4001>\n"
	for name, spoil := range map[string]func(*sip.Request){
		"another user":   func(q *sip.Request) { q.From().Address.User = "tybalt" },
		"another domain": func(q *sip.Request) { q.To().Address.Host = "example.com" },
		"no user":        func(q *sip.Request) { q.To().Address.User, q.From().Address.User = "", "" },
	} {
		req := registration(t, "romeo", contact)
		spoil(req)
		if res := r.register(req, client, time.Now()); res.StatusCode != 403 {
			t.Errorf("%s: %d, want 403", name, res.StatusCode)
		}
	}
	for i := range maxAccounts {
		if res := r.register(registration(t, fmt.Sprint("u", i), contact), client, time.Now()); res.StatusCode != 200 {
			t.Fatalf("user %d: %d", i, res.StatusCode)
		}
	}
	if res := r.register(registration(t, "romeo", contact), client, time.Now()); res.StatusCode != 503 {
		t.Errorf("one user too many: %d, want 503", res.StatusCode)
	}
	if res := r.register(registration(t, "u1", contact), client, time.Now()); res.StatusCode != 200 {
		t.Errorf("a user who is known: %d, want 200", res.StatusCode)
	}
}

// TestPlace: requests go back to where the client is, never to an address that
// it only names.
func TestPlace(t *testing.T) {
	tcp := federation.Peer{Addr: client.Addr, Via: federation.TCP}
	tests := []struct {
		contact string
		peer    federation.Peer
		want    string
	}{
		{"sip:c@203.0.113.1:4001", client, "127.0.0.1:4000 udp"},
		{"sip:c@203.0.113.1:4001;transport=tcp", client, "127.0.0.1:4001 tcp"},
		{"sip:c@203.0.113.1:4001;transport=TCP", tcp, "127.0.0.1:4001 tcp"},
		{"sip:c@127.0.0.9:4001;transport=tcp", tcp, "127.0.0.9:4001 tcp"},
		{"sip:c@203.0.113.1;transport=tcp", tcp, "127.0.0.1:5060 tcp"},
		{"sip:c@203.0.113.1", tcp, "127.0.0.1:5060 udp"},
	}
	r := &registrar{domain: "example.net"}
	for _, tt := range tests {
		u, err := sipx.ParseURI(tt.contact)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.place(u, tt.peer); fmt.Sprint(got.Addr, " ", got.Transport) != tt.want {
			t.Errorf("%s over %s: %s %s, want %s", tt.contact, tt.peer.Via, got.Addr, got.Transport, tt.want)
		}
	}
}
