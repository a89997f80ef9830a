package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"cpimgate/federation"
)

// A Component is how an XMPP server of ours takes us as a component (XEP-0114).
type Component struct {
	// Server is the server's port for components, "host:port". The protocol has
	// no TLS: it is on loopback, or on a network that is protected otherwise.
	Server string `yaml:"server"`

	// SecretFile holds the secret that the server knows for the component, on
	// one line. It is read with the configuration.
	SecretFile string `yaml:"secret_file"`

	secret string
}

// An Attachment is one component at one server, for all homes whose users that
// server has.
type Attachment struct {
	Domain             string // of the component, in the spelling of federation.Domain
	Server             string // host:port
	Secret, SecretFile string
	Homes              []string // in the order of their names
}

// Attachments returns the components that are to be connected, in the order of
// their names.
func (c *Config) Attachments() []Attachment { return c.attachments }

// Attached reports whether the users of home see domain by a component: a
// foreign SIP domain under its own name, or the gateway name (decision D-74).
func (c *Config) Attached(home, domain string) bool {
	return slices.ContainsFunc(c.attachments, func(a Attachment) bool {
		return a.Domain == domain && slices.Contains(a.Homes, home)
	})
}

// maxSecret is more than any secret has.
const maxSecret = 4096

// components reads the components of a home, which the file spells name.
func (k *checker) components(c *Config, name, home string, d *Domain) {
	for _, key := range slices.Sorted(maps.Keys(d.Components)) {
		path := []string{"domains", name, "components", key}
		comp := d.Components[key]
		if comp == nil {
			k.at(path, "%s: say where it is attached, {server: \"xmpp.%s:5347\", secret_file: component.secret}", key, home)
			continue
		}
		before := len(k.errs)
		domain := k.domain(path, key)
		if net.ParseIP(key) != nil || key == "" {
			k.at(path, "%q is not a domain name", key)
		}
		if comp.Server == "" {
			k.at(path, "%s: name the port where the XMPP server takes components, such as server: \"xmpp.%s:5347\"", key, home)
		}
		k.hostPort(slices.Concat(path, []string{"server"}), comp.Server, "xmpp.example.net:5347")
		k.secret(c, path, comp)
		if len(k.errs) == before {
			k.places[[2]string{home, domain}] = path
			k.attach(c, Attachment{domain, comp.Server, comp.secret, comp.SecretFile, []string{home}})
		}
	}
}

// secret reads the secret of a component.
func (k *checker) secret(c *Config, path []string, comp *Component) {
	if comp.SecretFile == "" {
		k.at(path, "%s: name the file with the secret that the XMPP server knows for it, secret_file: component.secret", path[len(path)-1])
		return
	}
	path = slices.Concat(path, []string{"secret_file"})
	comp.SecretFile = c.absolute(comp.SecretFile)
	var err error
	if comp.secret, err = readSecret(comp.SecretFile); err != nil {
		k.at(path, "secret_file: %v", err)
		return
	}
	k.private(path, comp.SecretFile)
}

// readSecret reads a file that holds one line.
func readSecret(file string) (string, error) {
	if info, err := os.Stat(file); err != nil {
		return "", err
	} else if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is no file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	secret := strings.TrimSpace(string(b))
	switch {
	case err != nil:
		return "", err
	case secret == "":
		return "", fmt.Errorf("%s is empty; write the secret into it that the XMPP server knows for the component", file)
	case len(b) > maxSecret || strings.ContainsAny(secret, "\r\n"):
		return "", fmt.Errorf("%s holds more than one line; write nothing but the secret into it", file)
	}
	return secret, nil
}

// private warns of a file with secrets that everybody on the machine can read.
func (k *checker) private(path []string, file string) {
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o004 != 0 {
		k.warn(path, "everybody on this machine can read %s; chmod o-rwx it", file)
	}
}

// attach adds a component of one home. A server that has the users of several
// homes is connected to once.
func (k *checker) attach(c *Config, a Attachment) {
	home := a.Homes[0]
	path := k.places[[2]string{home, a.Domain}]
	for i := range c.attachments {
		b := &c.attachments[i]
		switch {
		case b.Domain != a.Domain:
		case slices.Contains(b.Homes, home):
			k.at(path, "%s stands twice", a.Domain)
			return
		case b.Server == a.Server && b.Secret != a.Secret:
			k.at(path, "%s is a component at %s under %s too, with another secret", a.Domain, a.Server, b.Homes[0])
			return
		case b.Server == a.Server:
			b.Homes = append(b.Homes, home)
			return
		}
	}
	c.attachments = append(c.attachments, a)
}

// attached checks the components against what all homes say.
func (k *checker) attached(c *Config) {
	slices.SortFunc(c.attachments, func(a, b Attachment) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Server, b.Server))
	})
	for _, a := range c.attachments {
		for _, home := range a.Homes {
			path := k.places[[2]string{home, a.Domain}]
			i := slices.IndexFunc(c.homes, func(h federation.Home) bool { return h.Gateway == a.Domain })
			if _, is := c.book[a.Domain]; is {
				k.at(path, "%s is a domain of its own here, which the XMPP server finds by its records; take the component out", a.Domain)
			} else if i >= 0 && c.book[home].Gateway != a.Domain {
				k.at(path, "%s is the gateway of %s; choose another name", a.Domain, c.homes[i].Domain)
			}
			if !onLoopback(a.Server) {
				k.warn(slices.Concat(path, []string{"server"}), "what goes to %s is not encrypted (XEP-0114 knows no TLS); see that the network protects it", a.Server)
			}
		}
	}
}

func onLoopback(server string) bool {
	host, _, _ := net.SplitHostPort(server) // was checked
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// hostPort checks a host or address with a port.
func (k *checker) hostPort(path []string, s, example string) {
	if s == "" {
		return
	}
	host, port, err := net.SplitHostPort(s)
	n, bad := strconv.ParseUint(port, 10, 16)
	if errors.Join(err, bad) != nil || host == "" || n == 0 {
		k.at(path, "%s: want host:port such as %s, not %q", path[len(path)-1], example, s)
	}
}
