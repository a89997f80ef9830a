package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"cpimgate/federation"
	"cpimgate/gateway/policy"
)

// Load reads and checks a file. The error is one *Error, or several joined,
// each with its place.
func Load(file string) (*Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return Parse(file, b)
}

// Parse is like Load for a file that was read already. Paths in it become
// relative to the directory of file.
func Parse(file string, b []byte) (*Config, error) {
	c := defaults()
	c.file = file
	if err := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict()).Decode(c); err != nil && err != io.EOF {
		return nil, locate(file, err)
	}
	tree, err := parser.ParseBytes(b, 0)
	if err != nil {
		return nil, locate(file, err)
	}
	k := &checker{file: file, root: rootOf(tree), places: map[[2]string][]string{}}
	k.domains(c)
	k.certificates(c)
	k.peers(c)
	k.contact(c)
	k.store(c)
	k.attached(c)
	k.rest(c)
	if len(k.errs) > 0 {
		return nil, errors.Join(k.errs...)
	}
	c.inherit()
	c.warnings = k.warnings
	return c, nil
}

func rootOf(f *ast.File) ast.Node {
	if len(f.Docs) == 0 {
		return nil
	}
	return f.Docs[0].Body
}

// locate gives a decoder's error its place in the file.
func locate(file string, err error) error {
	if e, ok := errors.AsType[interface {
		error
		GetToken() *token.Token
		GetMessage() string
	}](err); ok && e.GetToken() != nil {
		p := e.GetToken().Position
		return &Error{file, p.Line, p.Column, e.GetMessage()}
	}
	return &Error{file, 1, 1, err.Error()}
}

// A checker collects all mistakes, so that one run shows them all.
type checker struct {
	file string
	root ast.Node
	errs []error

	warnings []error
	places   map[[2]string][]string // of a component in the file, by its home and name
}

// at reports a mistake at the value under the keys of path, or at the deepest
// key that is there.
func (k *checker) at(path []string, format string, args ...any) {
	k.errs = append(k.errs, k.mistake(path, format, args...))
}

// warn reports what may be meant so, like at.
func (k *checker) warn(path []string, format string, args ...any) {
	k.warnings = append(k.warnings, k.mistake(path, format, args...))
}

func (k *checker) mistake(path []string, format string, args ...any) error {
	line, column := 1, 1
	n := k.root
	for _, key := range path {
		m, ok := n.(ast.MapNode)
		if !ok {
			break
		}
		n = nil
		for it := m.MapRange(); it.Next(); {
			if strings.Trim(it.Key().GetToken().Value, `"'`) == key {
				p := it.Key().GetToken().Position
				line, column = p.Line, p.Column
				n = it.Value()
			}
		}
	}
	return &Error{k.file, line, column, fmt.Sprintf(format, args...)}
}

func (k *checker) domains(c *Config) {
	if len(c.Domains) == 0 {
		k.at([]string{"domains"}, "domains: name at least one domain, such as example.com: {users: sip}")
	}
	c.book = map[string]federation.Home{}
	for _, name := range slices.Sorted(maps.Keys(c.Domains)) {
		path := []string{"domains", name}
		d := c.Domains[name]
		domain, err := federation.Domain(name)
		if err != nil || net.ParseIP(name) != nil {
			k.at(path, "%q is not a domain name", name)
			continue
		}
		if d == nil {
			k.at(path, "%s: say what its people use, users: sip or users: xmpp", name)
			continue
		}
		if _, twice := c.book[domain]; twice {
			k.at(path, "%s stands twice", domain)
		}
		home := k.home(name, domain, d)
		k.components(c, name, domain, d)
		switch {
		case d.Numbers && c.numbers != "":
			k.at(append(path, "numbers"), "numbers is for one domain, and %s has it", c.numbers)
		case d.Numbers:
			c.numbers = domain
		}
		c.book[domain] = home
		c.homes = append(c.homes, home)
	}
	for _, h := range c.homes {
		if _, is := c.book[h.Gateway]; is {
			k.at([]string{"domains", h.Domain, "gateway"}, "gateway %s is a domain of its own here; choose another name", h.Gateway)
		}
	}
}

// home reads what a domain is, apart from its components.
func (k *checker) home(name, domain string, d *Domain) federation.Home {
	path := []string{"domains", name}
	home := federation.Home{Domain: domain, Server: d.Server}
	switch d.Users {
	case "sip":
		home.Users = federation.SIP
		k.sipURI(append(path, "server"), d.Server)
		if d.Gateway != "" {
			k.at(append(path, "gateway"), "gateway is for domains whose people use xmpp")
		}
		if len(d.Components) > 0 {
			k.at(append(path, "components"), "components are for domains whose people use xmpp")
		}
	case "xmpp":
		home.Users = federation.XMPP
		k.hostPort(append(path, "server"), d.Server, "xmpp.example.net:5269")
		home.Gateway = k.domain(append(path, "gateway"), d.Gateway)
		if d.Gateway == "" && len(d.Components) == 0 {
			k.at(path, "%s: name the gateway under which SIP users appear, such as gateway: sip.%[1]s, or components", name)
		}
	default:
		k.at(append(path, "users"), "users is sip or xmpp, not %q", d.Users)
	}
	return home
}

func (k *checker) certificates(c *Config) {
	if len(c.TLS) == 0 {
		k.at([]string{"tls"}, "tls: name our certificate, such as {cert: fullchain.pem, key: privkey.pem}")
	}
	for i := range c.TLS {
		t := &c.TLS[i]
		if t.Cert == "" || t.Key == "" {
			k.at([]string{"tls"}, "tls needs both cert and key")
		}
		t.Cert, t.Key = k.path(c, []string{"tls", "cert"}, t.Cert), k.path(c, []string{"tls", "key"}, t.Key)
		k.private([]string{"tls", "key"}, t.Key)
	}
}

// absolute returns a file name as it is found from anywhere.
func (c *Config) absolute(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(c.file), name)
}

// path makes a file name absolute and checks that the file can be read.
func (k *checker) path(c *Config, at []string, name string) string {
	if name == "" {
		return ""
	}
	name = c.absolute(name)
	f, err := os.Open(name)
	if err != nil {
		k.at(at, "%v", err)
		return name
	}
	f.Close()
	return name
}

func (k *checker) peers(c *Config) {
	for _, name := range slices.Sorted(maps.Keys(c.Peers)) {
		path := []string{"peers", name}
		p := c.Peers[name]
		if p == nil {
			k.at(path, "%s: the entry is empty", name)
			continue
		}
		if name != "*" {
			spelled := k.domain(path, strings.TrimPrefix(name, "*."))
			if strings.HasPrefix(name, "*.") {
				spelled = "*." + spelled
			}
			if spelled != name && spelled != "" {
				delete(c.Peers, name)
				c.Peers[spelled] = p
			}
		}
		k.sipURI(append(path, "sip"), p.SIP)
		k.hostPort(append(path, "xmpp"), p.XMPP, "xmpp.example.net:5269")
		p.CAFile = k.path(c, append(path, "ca_file"), p.CAFile)
		k.credentials(c, append(path, "credentials_file"), p)
		if p.PagerSize != nil && (*p.PagerSize < 200 || *p.PagerSize > 200<<10) {
			k.at(append(path, "pager_size"), "pager_size is 200 to 204800 bytes, not %d", *p.PagerSize)
		}
		if w := p.ErrorWindow; w != nil && (*w < 10*time.Millisecond || *w > 15*time.Second) {
			k.at(append(path, "error_window"), "error_window is 10ms to 15s, not %v", *w)
		}
		k.oneOf(append(path, "pager_type"), p.PagerType, "normal", "chat")
		k.oneOf(append(path, "bare_jid_errors"), p.BareJIDErrors, "6xx", "4xx")
		k.oneOf(append(path, "encrypted"), p.Encrypted, "refuse", "fallback")
	}
}

// credentials reads the passwords of a peer.
func (k *checker) credentials(c *Config, path []string, p *Peer) {
	if p.CredentialsFile == "" {
		return
	}
	p.CredentialsFile = k.path(c, path, p.CredentialsFile)
	creds, err := readCredentials(p.CredentialsFile)
	if err != nil {
		k.at(path, "%v", err)
		return
	}
	if c.credentials == nil {
		c.credentials = map[string][]credential{}
	}
	c.credentials[p.CredentialsFile] = creds
	k.private(path, p.CredentialsFile)
}

func (k *checker) rest(c *Config) {
	for key, a := range map[string]*Address{
		"sip": &c.Listen.SIP, "sips": &c.Listen.SIPS, "xmpp": &c.Listen.XMPP, "xmpps": &c.Listen.XMPPS, "admin": &c.Listen.Admin,
	} {
		if *a == "off" || *a == "" {
			*a = ""
			continue
		}
		if _, err := net.ResolveTCPAddr("tcp", string(*a)); err != nil {
			k.at([]string{"listen", key}, "%s: want host:port, :port or off, not %q", key, *a)
		}
	}
	if c.Listen.Name == "" {
		c.Listen.Name, _ = os.Hostname()
	}
	c.Listen.Name = cmp.Or(k.domain([]string{"listen", "name"}, c.Listen.Name), "localhost")
	for _, r := range c.DNS.Resolvers {
		if _, err := netip.ParseAddrPort(r); err != nil {
			k.at([]string{"dns", "resolvers"}, "resolvers: want address:port such as 127.0.0.1:53, not %q", r)
		}
	}
	l := c.Limits
	if l.PerSender <= 0 || l.PerPeer <= 0 || l.Strangers <= 0 || l.Message < 10_000 || l.Connections <= 0 || l.PerAddress <= 0 || l.Queue <= 0 || l.Idle <= 0 {
		k.at([]string{"limits"}, "limits are more than zero, and message at least 10000 bytes (RFC 6120, section 13.12)")
	}
	for _, entry := range c.Policy.Block {
		if _, err := policy.NewList([]string{entry}); err != nil {
			k.at([]string{"policy", "block"}, "%v", err)
		}
	}
	k.oneOf([]string{"log", "format"}, &c.Log.Format, "text", "json")
}

func (k *checker) oneOf(path []string, v *string, words ...string) {
	if v != nil && !slices.Contains(words, *v) {
		k.at(path, "%s is %s, not %q", path[len(path)-1], strings.Join(words, " or "), *v)
	}
}

func (k *checker) domain(path []string, s string) string {
	if s == "" {
		return ""
	}
	d, err := federation.Domain(s)
	if err != nil {
		k.at(path, "%q is not a domain name", s)
	}
	return d
}

func (k *checker) sipURI(path []string, s string) {
	if s != "" && !strings.HasPrefix(s, "sip:") && !strings.HasPrefix(s, "sips:") {
		k.at(path, "%s: want a SIP URI such as sip:proxy.example.com;transport=tls, not %q", path[len(path)-1], s)
	}
}
