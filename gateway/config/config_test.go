package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"cpimgate/federation"
)

const good = `domains:
  example.com:
    users: sip
    server: sip:proxy.example.com;transport=tls
  example.net:
    users: xmpp
    gateway: sip.example.net
tls:
  cert: cert.pem
  key: key.pem
peers:
  "*": {security: dialback-ok}
  "*.example": {pager_type: chat}
  legacy.example: {allow: false}
  lab.legacy.example: {security: plain-ok, sip: "sip:127.0.0.7:5060;transport=tcp"}
listen:
  xmpps: off
`

// directory returns one that holds the files that the tests name.
func directory(t *testing.T) string {
	dir := t.TempDir()
	for _, name := range []string{"cert.pem", "key.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoad(t *testing.T) {
	file := filepath.Join(directory(t), "cpimgate.yaml")
	if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen.SIP != ":5060" || c.Listen.XMPPS != "" || c.Limits.PerSender != 20 {
		t.Errorf("defaults: %+v %+v", c.Listen, c.Limits)
	}
	if c.TLS[0].Cert != filepath.Join(filepath.Dir(file), "cert.pem") {
		t.Errorf("certificate %q is not relative to the file", c.TLS[0].Cert)
	}
	for _, tt := range []struct {
		wire   federation.Wire
		domain string
		want   bool
	}{
		{federation.XMPP, "example.com", true},
		{federation.XMPP, "sip.example.net", true},
		{federation.XMPP, "example.net", false},
		{federation.SIP, "example.net", true},
		{federation.SIP, "example.com", false},
		{federation.SIP, "sip.example.net", false},
		{federation.XMPP, "other.example", false},
	} {
		if got := c.Stands(tt.wire, tt.domain); got != tt.want {
			t.Errorf("Stands(%s, %s) = %v", tt.wire, tt.domain, got)
		}
	}
}

// TestInheritance: decision D-73: the most specific entry wins, key by key.
func TestInheritance(t *testing.T) {
	c, err := Parse(filepath.Join(directory(t), "x.yaml"), []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		domain, pagerType string
		allow             bool
		security          federation.Security
		sip               string
	}{
		{"other.test", "normal", true, federation.DialbackOK, ""},
		{"legacy.example", "chat", false, federation.DialbackOK, ""},
		{"lab.legacy.example", "chat", true, federation.PlainOK, "sip:127.0.0.7:5060;transport=tcp"},
		{"x.lab.legacy.example", "chat", true, federation.DialbackOK, ""},
	} {
		p, r := c.Peer(tt.domain), c.Rules(tt.domain)
		if *p.PagerType != tt.pagerType || r.Allow != tt.allow || r.Security != tt.security || r.SIP != tt.sip {
			t.Errorf("%s: pager_type %s, %+v", tt.domain, *p.PagerType, r)
		}
		if want := c.inherited(tt.domain); !reflect.DeepEqual(p, want) {
			t.Errorf("%s: %+v, put together %+v", tt.domain, p, want)
		}
	}
	for _, tt := range []struct {
		peers string
		want  map[string]bool
	}{
		{`{"*": {allow: false}, friend.example: {allow: true}}`, map[string]bool{
			"friend.example": true, "other.example": false, "example.com": true, "example.net": true,
		}},
		{`{example.com: {allow: false}}`, map[string]bool{"example.com": false, "example.net": true, "other.example": true}},
	} {
		yaml := strings.Split(good, "peers:")[0] + "peers: " + tt.peers + "\n"
		c, err := Parse(filepath.Join(directory(t), "x.yaml"), []byte(yaml))
		if err != nil {
			t.Fatal(err)
		}
		for domain, want := range tt.want {
			if got := c.Rules(domain).Allow; got != want {
				t.Errorf("%s: %s is allowed: %v", tt.peers, domain, got)
			}
		}
	}
	if r := (&Config{}).Rules("any.example"); !r.Allow || r.Security != federation.Required {
		t.Errorf("without peers: %+v, want allowed and required", r)
	}
}

// TestErrors: each mistake is told with its place and what to write instead.
func TestErrors(t *testing.T) {
	for _, tt := range []struct{ name, yaml, want string }{
		{"empty", "", `x.yaml:1:1: domains: name at least one domain`},
		{"unknown key", "domains:\n  a.example: {users: sip, colour: red}\n", `x.yaml:2:27: unknown field "colour"`},
		{"syntax", "domains: {a.example: [}\n", `x.yaml:1:`},
		{"users", "domains:\n  a.example:\n    users: h323\n", `x.yaml:3:5: users is sip or xmpp, not "h323"`},
		{"nothing", "domains:\n  a.example:\n", `x.yaml:2:3: a.example: say what its people use`},
		{"gateway missing", "domains:\n  a.example: {users: xmpp}\n", `x.yaml:2:3: a.example: name the gateway`},
		{"gateway taken", "domains:\n  a.example: {users: xmpp, gateway: b.example}\n  b.example: {users: sip}\n", `x.yaml:2:28: gateway b.example is a domain of its own`},
		{"numbers", "domains:\n  a.example: {users: sip, numbers: true}\n  b.example: {users: sip, numbers: true}\n", `x.yaml:3:27: numbers is for one domain, and a.example has it`},
		{"domain", "domains:\n  a..example: {users: sip}\n", `x.yaml:2:3: "a..example" is not a domain name`},
		{"literal", "domains:\n  192.0.2.1: {users: sip}\n", `x.yaml:2:3: "192.0.2.1" is not a domain name`},
		{"server", "domains:\n  a.example: {users: sip, server: proxy}\n", `x.yaml:2:27: server: want a SIP URI`},
		{"no file", "tls: {cert: none.pem, key: key.pem}\ndomains:\n  a.example: {users: sip}\n", `x.yaml:1:7: open `},
		{"security", "peers:\n  b.example: {security: maybe}\n", `security is one of required, dialback-ok, plain-ok`},
		{"pager size", "peers:\n  b.example: {pager_size: 9}\n", `x.yaml:2:15: pager_size is 200 to 204800 bytes, not 9`},
		{"error window", "peers:\n  b.example: {error_window: 20s}\n", `x.yaml:2:15: error_window is 10ms to 15s, not 20s`},
		{"pager type", "peers:\n  b.example: {pager_type: loud}\n", `x.yaml:2:15: pager_type is normal or chat, not "loud"`},
		{"peer name", "peers:\n  b..example: {allow: true}\n", `x.yaml:2:3: "b..example" is not a domain name`},
		{"listen", "listen:\n  sip: here\n", `x.yaml:2:3: sip: want host:port, :port or off, not "here"`},
		{"resolver", "dns: {resolvers: [dns.example]}\n", `x.yaml:1:7: resolvers: want address:port`},
		{"block", "policy:\n  block: [good.example, \"a b@c.example\"]\n", `x.yaml:2:3: block: "a b@c.example" is no domain, no *.domain and no address of a user`},
		{"block twice", "policy:\n  block: [\"*\", 192.0.2.1]\n", `x.yaml:2:3: block: "192.0.2.1" is no domain`},
		{"strangers", "limits: {strangers: 0}\n", `x.yaml:1:1: limits are more than zero`},
		{"limits", "limits: {queue: -1}\n", `x.yaml:1:1: limits are more than zero`},
		{"contact role", "contact:\n  boss: mailto:x@a.example\n", `x.yaml:2:3: boss is abuse or admin or feedback or sales or security or status or support, not "boss"`},
		{"contact address", "contact:\n  admin: [mailto:x@a.example, x@a.example]\n", `x.yaml:2:3: admin: want a URI in quotes, such as "mailto:ops@example.com", not "x@a.example"`},
		{"contact without quotes", "contact: {admin: [mailto:x@a.example]}\n", `x.yaml:1:11: admin: want a URI in quotes, such as "mailto:ops@example.com", not "mailto: x@a.example"`},
		{"contact space", "contact: {abuse: \"xmpp:a b@a.example\"}\n", `x.yaml:1:11: abuse: want a URI`},
		{"contact empty", "contact: {admin: []}\n", `x.yaml:1:11: admin: the entry is empty`},
		{"contact nothing", "contact:\n  admin:\n", `x.yaml:2:3: admin: `},
		{"contact of two kinds", "contact: {admin: {a: b}}\n", `x.yaml:1:11: admin: want a URI`},
		{"contact list", "contact: [admin]\n", `x.yaml:1:`},
		{"two stores", "store:\n  dir: state\n  url: nats://n.example\n", `x.yaml:2:3: a store has a dir or a url, not both`},
		{"store url", "store: {url: \"n.example:4222\"}\n", `x.yaml:1:9: url: want nats://host:4222`},
		{"store urls", "store:\n  url: nats://a.example,http://b.example\n", `x.yaml:2:3: url: want nats://host:4222`},
		{"store credentials", "store: {credentials_file: x}\n", `x.yaml:1:9: credentials_file is for a store at url`},
		{"store roots", "store: {url: \"tls://n.example\", ca_file: none.pem}\n", `x.yaml:1:33: open `},
		{"sync", "store: {sync: 2m}\n", `x.yaml:1:9: sync is 0s to 1m, not 2m0s`},
		{"replicas", "store: {url: \"tls://n.example\", replicas: 2}\n", `x.yaml:1:33: replicas is 1, 3 or 5, not 2`},
		{"store name", "store:\n  url: tls://n.example\n  name: a.b\n", `x.yaml:3:3: name: want letters, digits and hyphens, not "a.b"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(filepath.Join(directory(t), "x.yaml"), []byte(tt.yaml))
			if err == nil {
				t.Fatal("no error")
			}
			found := false
			for line := range strings.Lines(err.Error()) {
				found = found || strings.Contains(line, tt.want)
			}
			if !found {
				t.Errorf("got:\n%v\nwant a line with:\n%s", err, tt.want)
			}
		})
	}
}

// TestCredentials: a password for a realm, for any realm, or none; and a file
// that is wrong is told with its place.
func TestCredentials(t *testing.T) {
	dir := directory(t)
	write := func(text string) (*Config, error) {
		if err := os.WriteFile(filepath.Join(dir, "secret"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		yaml := "domains: {a.example: {users: sip}}\ntls: {cert: cert.pem, key: key.pem}\npeers:\n  b.example: {credentials_file: secret}\n"
		return Parse(filepath.Join(dir, "x.yaml"), []byte(yaml))
	}
	c, err := write("# ours\n\nb.example gw s3cret\n\"two words\" gw2  other\n* any x\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ domain, realm, user, password string }{
		{"b.example", "b.example", "gw", "s3cret"}, {"b.example", "two words", "gw2", "other"},
		{"b.example", "third", "any", "x"}, {"c.example", "b.example", "", ""},
	} {
		if user, password, ok := c.Credentials(tt.domain, tt.realm); user != tt.user || password != tt.password || ok != (user != "") {
			t.Errorf("%s, %s: %s %s %v", tt.domain, tt.realm, user, password, ok)
		}
	}
	if _, err := write("b.example gw\n"); err == nil || !strings.Contains(err.Error(), "x.yaml:4:15: ") || !strings.Contains(err.Error(), "secret:1: want: realm user password") {
		t.Errorf("got %v", err)
	}
}

// FuzzParse: no file makes Parse panic, and each error has a place.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("domains: {a.example: {users: sip}}\ntls: [{cert: a, key: b}]\n"))
	f.Add([]byte("peers: {\"*\": }\n"))
	f.Add([]byte("domains: {a.example: {users: xmpp, components: {b.example: {server: \"127.0.0.1:1\", secret_file: s}, c.example: }}}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := Parse("x.yaml", b)
		if err == nil {
			return
		}
		if _, ok := errors.AsType[*Error](err); !ok {
			t.Errorf("no place in %v", err)
		}
	})
}
