package config

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Contact is how those who run this gateway are reached, by role.
type Contact map[string]URIs

// URIs is a list that may be written as its only element.
type URIs []string

// roles are the keys of a [Contact] (XEP-0157, section 7.1).
var roles = []string{"abuse", "admin", "feedback", "sales", "security", "status", "support"}

// UnmarshalYAML reads one URI or a list. What is no text is left to the check,
// which has its place: between braces, mailto:x without quotes is read as a
// mapping.
func (u *URIs) UnmarshalYAML(n ast.Node) error {
	list := []ast.Node{n}
	if s, ok := n.(*ast.SequenceNode); ok {
		list = s.Values
	}
	*u = make(URIs, len(list))
	for i, n := range list {
		if err := yaml.NodeToValue(n, &(*u)[i]); err != nil {
			(*u)[i] = strings.TrimSpace(n.String())
		}
	}
	return nil
}

func (k *checker) contact(c *Config) {
	for _, role := range slices.Sorted(maps.Keys(c.Contact)) {
		path := []string{"contact", role}
		k.oneOf(path, &role, roles...)
		if len(c.Contact[role]) == 0 {
			k.at(path, "%s: the entry is empty", role)
		}
		for _, s := range c.Contact[role] {
			u, err := url.Parse(s)
			if err != nil || u.Scheme == "" || u.Opaque+u.Host+u.Path == "" || strings.ContainsAny(s, " \t") {
				k.at(path, "%s: want a URI in quotes, such as \"mailto:ops@example.com\", not %q", role, s)
			}
		}
	}
}

// Contact returns how those who run the gateway are reached now, by role.
func (l *Live) Contact() map[string][]string {
	ways := map[string][]string{}
	for role, list := range l.Settings().Contact {
		ways[role] = list
	}
	return ways
}
