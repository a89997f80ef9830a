package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cpimgate/federation"
)

// secrets returns a directory that also holds secrets of components.
func secrets(t *testing.T) string {
	dir := directory(t)
	for name, text := range map[string]string{
		"secret": "s3cret\n", "same": " s3cret ", "other": "0ther", "empty": "\n", "two": "one\ntwo\n", "long": strings.Repeat("x", 5000), "open": "s3cret",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "open"), 0o644); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return dir
}

const attached = `domains:
  example.org:
    users: xmpp
    gateway: gw.example.org
    components:
      Sip.example: {server: "127.0.0.1:5347", secret_file: secret}
      gw.example.org: {server: "127.0.0.1:5347", secret_file: other}
  example.net:
    users: xmpp
    components:
      sip.example: {server: "127.0.0.1:5347", secret_file: same}
  example.com:
    users: xmpp
    gateway: gw.example.com
    components: {sip.example: {server: "[::1]:5347", secret_file: other}}
tls: {cert: cert.pem, key: key.pem}
`

// TestComponents: one server is one connection, whoever's users it has; a name
// that comes by a component is nobody else's to ask for (decision D-74).
func TestComponents(t *testing.T) {
	dir := secrets(t)
	c, err := Parse(filepath.Join(dir, "x.yaml"), []byte(attached))
	if err != nil {
		t.Fatal(err)
	}
	want := []Attachment{
		{"gw.example.org", "127.0.0.1:5347", "0ther", dir + "/other", []string{"example.org"}},
		{"sip.example", "127.0.0.1:5347", "s3cret", dir + "/same", []string{"example.net", "example.org"}},
		{"sip.example", "[::1]:5347", "0ther", dir + "/other", []string{"example.com"}},
	}
	if got := c.Attachments(); !reflect.DeepEqual(got, want) {
		t.Errorf("attachments %+v, want %+v", got, want)
	}
	for _, tt := range []struct {
		home, domain     string
		attached, stands bool
	}{
		{"example.org", "sip.example", true, false},
		{"example.net", "sip.example", true, false},
		{"example.org", "gw.example.org", true, false},
		{"example.net", "gw.example.org", false, false},
		{"example.com", "gw.example.com", false, true},
		{"sip.example", "sip.example", false, false},
		{"", "", false, false},
	} {
		if c.Attached(tt.home, tt.domain) != tt.attached || c.Stands(federation.XMPP, tt.domain) != tt.stands {
			t.Errorf("%s sees %s: attached %v, stands %v", tt.home, tt.domain, !tt.attached, c.Stands(federation.XMPP, tt.domain))
		}
	}
	if len(c.Warnings()) > 0 {
		t.Errorf("warnings %v", c.Warnings())
	}
}

// TestComponentErrors: each mistake is told with its place and what to write
// instead.
func TestComponentErrors(t *testing.T) {
	dir := secrets(t)
	const (
		xmpp = "domains:\n  a.example: {users: xmpp, gateway: gw.example}\n  b.example:\n    users: xmpp\n    components:\n"
		good = `{server: "127.0.0.1:5347", secret_file: secret}`
	)
	for _, tt := range []struct{ name, yaml, want string }{
		{"domain", xmpp + "      c..example: " + good, `x.yaml:6:7: "c..example" is not a domain name`},
		{"literal", xmpp + "      192.0.2.1: " + good, `x.yaml:6:7: "192.0.2.1" is not a domain name`},
		{"nothing", xmpp + "      c.example:\n", `x.yaml:6:7: c.example: say where it is attached, {server: "xmpp.b.example:5347", secret_file: component.secret}`},
		{"unknown key", xmpp + "      c.example: {port: 5347}", `x.yaml:6:19: unknown field "port"`},
		{"no server", xmpp + "      c.example: {secret_file: secret}", `x.yaml:6:7: c.example: name the port where the XMPP server takes components, such as server: "xmpp.b.example:5347"`},
		{"no port", xmpp + "      c.example: {server: xmpp.b.example, secret_file: secret}", `x.yaml:6:19: server: want host:port such as xmpp.example.net:5347, not "xmpp.b.example"`},
		{"no host", xmpp + "      c.example: {server: \":5347\", secret_file: secret}", `x.yaml:6:19: server: want host:port`},
		{"bad port", xmpp + "      c.example: {server: \"h:70000\", secret_file: secret}", `x.yaml:6:19: server: want host:port`},
		{"no secret", xmpp + "      c.example: {server: \"127.0.0.1:5347\"}", `x.yaml:6:7: c.example: name the file with the secret that the XMPP server knows for it, secret_file: component.secret`},
		{"missing", xmpp + "      c.example: {server: \"127.0.0.1:5347\", secret_file: none}", `x.yaml:6:45: secret_file: stat ` + dir + `/none: no such file`},
		{"directory", xmpp + "      c.example: {server: \"127.0.0.1:5347\", secret_file: .}", `x.yaml:6:45: secret_file: ` + dir + ` is no file`},
		{"empty", xmpp + "      c.example: {server: \"127.0.0.1:5347\", secret_file: empty}", `x.yaml:6:45: secret_file: ` + dir + `/empty is empty; write the secret into it`},
		{"two lines", xmpp + "      c.example: {server: \"127.0.0.1:5347\", secret_file: two}", `x.yaml:6:45: secret_file: ` + dir + `/two holds more than one line`},
		{"too long", xmpp + "      c.example: {server: \"127.0.0.1:5347\", secret_file: long}", `x.yaml:6:45: secret_file: ` + dir + `/long holds more than one line`},
		{"twice", xmpp + "      c.example: " + good + "\n      C.example: " + good, `x.yaml:6:7: c.example stands twice`},
		{"same key", xmpp + "      c.example: " + good + "\n      c.example: " + good, `x.yaml:7:7: `},
		{"a domain of ours", xmpp + "      a.example: " + good, `x.yaml:6:7: a.example is a domain of its own here`},
		{"itself", xmpp + "      b.example: " + good, `x.yaml:6:7: b.example is a domain of its own here`},
		{"another's gateway", xmpp + "      gw.example: " + good, `x.yaml:6:7: gw.example is the gateway of a.example; choose another name`},
		{"another secret", "domains:\n  a.example: {users: xmpp, components: {c.example: " + good + "}}\n  b.example: {users: xmpp, components: {c.example: {server: \"127.0.0.1:5347\", secret_file: other}}}\n", `x.yaml:3:41: c.example is a component at 127.0.0.1:5347 under a.example too, with another secret`},
		{"of SIP", "domains:\n  a.example: {users: sip, components: {c.example: " + good + "}}\n", `x.yaml:2:27: components are for domains whose people use xmpp`},
		{"neither", "domains:\n  a.example: {users: xmpp}\n", `x.yaml:2:3: a.example: name the gateway under which SIP users appear, such as gateway: sip.a.example, or components`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(filepath.Join(dir, "x.yaml"), []byte(tt.yaml))
			if err == nil {
				t.Fatal("no error")
			}
			if !slices.ContainsFunc(strings.Split(err.Error(), "\n"), func(line string) bool { return strings.Contains(line, tt.want) }) {
				t.Errorf("got:\n%v\nwant a line with:\n%s", err, tt.want)
			}
		})
	}
}

// TestWarnings: what may be meant so is told with its place, and is no mistake.
func TestWarnings(t *testing.T) {
	dir := secrets(t)
	const yaml = "domains:\n  b.example: {users: xmpp, components: {c.example: {server: \"xmpp.b.example:5347\", secret_file: open}}}\n" +
		"tls: {cert: cert.pem, key: key.pem}\n"
	for _, tt := range []struct {
		name, more string
		want       []string
	}{
		{"both", "", []string{
			"x.yaml:2:84: everybody on this machine can read " + dir + "/open; chmod o-rwx it",
			"x.yaml:2:53: what goes to xmpp.b.example:5347 is not encrypted (XEP-0114 knows no TLS); see that the network protects it",
		}},
		{"credentials", "peers: {d.example: {credentials_file: open}}\n", []string{"x.yaml:2:84: everybody", "x.yaml:4:21: everybody", "x.yaml:2:53: "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, "open"), []byte("* user password\n"), 0o600); err != nil { // no credentials are one word
				t.Fatal(err)
			}
			c, err := Parse(filepath.Join(dir, "x.yaml"), []byte(yaml+tt.more))
			if err != nil {
				t.Fatal(err)
			}
			got := c.Warnings()
			if len(got) != len(tt.want) {
				t.Fatalf("warnings %v, want %q", got, tt.want)
			}
			for i, want := range tt.want {
				if !strings.Contains(got[i].Error(), want) {
					t.Errorf("warning %v, want %s", got[i], want)
				}
			}
		})
	}
}

// TestComponentDiff: a secret that is another in the same file is a change.
func TestComponentDiff(t *testing.T) {
	dir := secrets(t)
	parse := func() *Config {
		c, err := Parse(filepath.Join(dir, "x.yaml"), []byte(attached))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := parse()
	if live, restart := Diff(before, parse()); len(live)+len(restart) > 0 {
		t.Errorf("nothing has changed: %q, %q", live, restart)
	}
	if err := os.WriteFile(filepath.Join(dir, "other"), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	live, restart := Diff(before, parse())
	if !slices.Equal(live, []string{"domains.example.com", "domains.example.org"}) || len(restart) > 0 {
		t.Errorf("live %q, restart %q", live, restart)
	}
}
