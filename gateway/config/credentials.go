package config

import (
	"os"
	"strings"

	"cpimgate/cpim/fault"
)

// A credential answers a challenge of one realm (RFC 3261, section 22.1).
type credential struct{ realm, user, password string }

// readCredentials reads a file of lines "realm user password". Blanks separate;
// a realm that has some is in quotation marks; "*" is any realm. Lines that are
// empty or begin with "#" say nothing.
func readCredentials(file string) ([]credential, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []credential
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		realm, rest, ok := realmOf(line)
		f := strings.Fields(rest)
		if !ok || len(f) != 2 {
			return nil, fault.E(fault.Malformed, "%s:%d: want: realm user password", file, n)
		}
		all = append(all, credential{realm, f[0], f[1]})
	}
	return all, nil
}

func realmOf(line string) (realm, rest string, ok bool) {
	if quoted, in := strings.CutPrefix(line, `"`); in {
		return strings.Cut(quoted, `"`)
	}
	return strings.Cut(line, " ")
}

// Credentials returns with what to answer a peer domain that challenges us for
// a realm; false if the operator has given nothing for it.
func (c *Config) Credentials(domain, realm string) (user, password string, ok bool) {
	for _, cred := range c.credentials[c.Peer(domain).CredentialsFile] {
		if cred.realm == realm || cred.realm == "*" {
			return cred.user, cred.password, true
		}
	}
	return "", "", false
}
