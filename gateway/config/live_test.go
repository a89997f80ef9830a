package config

import (
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"cpimgate/federation"
)

// TestDefaults: each timeout and limit that the operator can set has the default
// that its comment names (GW-11).
func TestDefaults(t *testing.T) {
	c, err := Parse(filepath.Join(directory(t), "x.yaml"), []byte("domains: {a.example: {users: sip}}\ntls: {cert: cert.pem, key: key.pem}\nlisten: {name: gw.a.example}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Limits{
		PerSender: 20, PerPeer: 1000, Strangers: 120, Message: 262144, Connections: 10000, PerAddress: 100,
		Queue: 1000, Idle: 30 * time.Minute,
	}
	if c.Limits != want {
		t.Errorf("limits %+v, want %+v", c.Limits, want)
	}
	listen := Listen{Name: "gw.a.example", SIP: ":5060", SIPS: ":5061", XMPP: ":5269", XMPPS: ":5270", Admin: "127.0.0.1:9580"}
	if c.Listen != listen {
		t.Errorf("listen %+v, want %+v", c.Listen, listen)
	}
	if c.Log != (Log{Level: slog.LevelInfo, Format: "text"}) || len(c.DNS.Resolvers) > 0 || len(c.Policy.Block) > 0 {
		t.Errorf("log %+v, dns %+v, policy %+v", c.Log, c.DNS, c.Policy)
	}
	p := c.Peer("any.example")
	if *p.PagerSize != 1300 || *p.ErrorWindow != 300*time.Millisecond || !*p.Allow || *p.Security != federation.Required {
		t.Errorf("peer %+v", p)
	}
}

// TestSettings: each limit that is written is the one that is read.
func TestSettings(t *testing.T) {
	const limits = "limits: {per_sender: 1.5, per_peer: 2, strangers: 3, message: 10000, connections: 4, per_address: 5, queue: 6, idle: 7s}\n"
	c, err := Parse(filepath.Join(directory(t), "x.yaml"), []byte(limits+good))
	if err != nil {
		t.Fatal(err)
	}
	want := Limits{PerSender: 1.5, PerPeer: 2, Strangers: 3, Message: 10000, Connections: 4, PerAddress: 5, Queue: 6, Idle: 7 * time.Second}
	if c.Limits != want {
		t.Errorf("limits %+v, want %+v", c.Limits, want)
	}
}

// TestContact: an address stands alone or in a list, and is what servers are
// told.
func TestContact(t *testing.T) {
	const contact = "contact:\n  admin: mailto:ops@a.example\n  abuse: [\"mailto:abuse@a.example\", \"xmpp:abuse@a.example?message\", \"https://a.example/abuse\"]\n"
	c, err := Parse(filepath.Join(directory(t), "x.yaml"), []byte(contact+good))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"admin": {"mailto:ops@a.example"},
		"abuse": {"mailto:abuse@a.example", "xmpp:abuse@a.example?message", "https://a.example/abuse"},
	}
	if got := NewLive(c).Contact(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestDiff: each setting that differs is named once, on its side.
func TestDiff(t *testing.T) {
	dir := directory(t)
	parse := func(yaml string) *Config {
		c, err := Parse(filepath.Join(dir, "x.yaml"), []byte(yaml))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := parse(good)
	for _, tt := range []struct{ name, before, after, live, restart string }{
		{"nothing", "", "", "", ""},
		{"another order", "example.com:\n    users: sip\n    server: sip:proxy.example.com;transport=tls", "example.com: {server: \"sip:proxy.example.com;transport=tls\", users: sip}", "", ""},
		{"rules", "legacy.example: {allow: false}", "legacy.example: {allow: true}", "peers.legacy.example", ""},
		{"no rule", "  legacy.example: {allow: false}\n", "", "peers.legacy.example", ""},
		{"manners", "pager_type: chat", "pager_type: normal", "peers.*.example", ""},
		{"domains", "  example.net:", "  example.org: {users: sip}\n  example.net:", "domains.example.org", ""},
		{"listen", "xmpps: off", "xmpps: off\n  sip: 127.0.0.1:5060", "", "listen.sip"},
		{"limits", "listen:", "limits: {per_sender: 1, strangers: 5, queue: 9, idle: 1m}\nlisten:", "limits.per_sender limits.strangers", "limits.idle limits.queue"},
		{"block", "listen:", "policy: {block: [spam.example]}\nlisten:", "policy.block", ""},
		{"contact", "listen:", "contact: {admin: mailto:a@a.example, abuse: [\"xmpp:b@a.example\"]}\nlisten:", "contact.abuse contact.admin", ""},
		{"empty block", "listen:", "policy: {block: []}\nlisten:", "", ""},
		{"log", "listen:", "log: {level: debug, format: json}\nlisten:", "log.level", "log.format"},
		{"store", "listen:", "store: {dir: state, sync: 0s}\nlisten:", "", "store.dir store.sync"},
		{"certificates", "cert.pem\n", "key.pem\n", "", "tls"},
		{"resolvers", "listen:", "dns: {resolvers: [\"127.0.0.1:53\"]}\nlisten:", "", "dns.resolvers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := strings.Replace(good, tt.before, tt.after, 1)
			if changed == good && tt.before != tt.after {
				t.Fatal("the change changes nothing")
			}
			for _, way := range []string{"there", "back"} {
				a, b := old, parse(changed)
				if way == "back" {
					a, b = b, a
				}
				live, restart := Diff(a, b)
				if l, r := strings.Join(live, " "), strings.Join(restart, " "); l != tt.live || r != tt.restart {
					t.Errorf("%s: live %q, restart %q; want %q, %q", way, l, r, tt.live, tt.restart)
				}
			}
		})
	}
}

// TestDiffWhole: no setting of the file escapes the comparison.
func TestDiffWhole(t *testing.T) {
	live, restart := Diff(&Config{}, &Config{
		Domains: map[string]*Domain{"a": {}}, Peers: map[string]*Peer{"b": {}}, TLS: Certificates{{}},
		Policy: Policy{Block: []string{"c"}}, DNS: DNS{Resolvers: []string{"d"}}, Log: Log{Level: slog.LevelWarn},
		Listen: Listen{SIP: ":1"}, Limits: Limits{Queue: 1}, Store: Store{Dir: "e"}, Contact: Contact{"admin": {"f:g"}},
	})
	var sections []string
	for _, key := range slices.Concat(live, restart) {
		section, _, _ := strings.Cut(key, ".")
		sections = append(sections, section)
	}
	slices.Sort(sections)
	var want []string
	for i := range reflect.TypeFor[Config]().NumField() {
		if key := reflect.TypeFor[Config]().Field(i).Tag.Get("yaml"); key != "" {
			want = append(want, key)
		}
	}
	slices.Sort(want)
	if got := slices.Compact(sections); !slices.Equal(got, want) {
		t.Errorf("sections %v, want %v", got, want)
	}
}

// TestLive: a book that was handed out speaks of what is in force.
func TestLive(t *testing.T) {
	dir := directory(t)
	l := NewLive(&Config{})
	var book federation.Book = l
	if len(book.Homes()) > 0 || !book.Rules("legacy.example").Allow {
		t.Error("there are rules before any were written")
	}
	c, err := Parse(filepath.Join(dir, "x.yaml"), []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	l.Set(c)
	if len(book.Homes()) != 2 || book.Rules("legacy.example").Allow || !book.Stands(federation.SIP, "example.net") || l.Settings() != c {
		t.Error("the book is still the old one")
	}
	if _, ok := book.Home("example.com"); !ok {
		t.Error("a home is missing")
	}
	if !book.Stands(federation.XMPP, "sip.example.net") || l.Attached("example.net", "sip.example.net") {
		t.Error("a gateway name is missing")
	}
	if *l.Peer("x.example").PagerType != "chat" {
		t.Error("manners are missing")
	}
}
