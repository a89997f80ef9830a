package config

import (
	"cmp"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Store is where we keep what must survive a restart: agreements, what a later
// receipt refers to, messages that wait.
type Store struct {
	// Dir is the directory of the embedded store, for one gateway alone; relative
	// to the configuration. Default: what systemd names in STATE_DIRECTORY, else
	// /var/lib/cpimgate.
	Dir string `yaml:"dir"`

	// Sync is how often the embedded store makes sure that the disk has all, at
	// most one minute: so much may be lost with the power, and nothing when only
	// the gateway dies. 0s is with each message. Default 1s.
	Sync time.Duration `yaml:"sync"`

	// URL is that of a NATS server with JetStream, or of several with commas,
	// such as "tls://nats1.example.com:4222", instead of the embedded store. The
	// server must take 8 MB at once (max_payload).
	URL StoreURL `yaml:"url"`

	CredentialsFile string `yaml:"credentials_file"` // NATS credentials for url
	CAFile          string `yaml:"ca_file"`          // roots for url instead of the system's

	// Name is what the buckets at url begin with; another one for each gateway
	// that shares the server. Default cpimgate.
	Name string `yaml:"name"`

	// Replicas is on how many servers the buckets are that we make at url: 1, 3
	// or 5. Default 3 in a cluster, else 1.
	Replicas int `yaml:"replicas"`
}

// A StoreURL may have a password in it.
type StoreURL string

// MarshalYAML writes what String returns.
func (u StoreURL) MarshalYAML() (any, error) { return u.String(), nil }

// String returns the URL without its password.
func (u StoreURL) String() string {
	list := strings.Split(string(u), ",")
	for i, s := range list {
		if parsed, err := url.Parse(s); err == nil {
			list[i] = parsed.Redacted()
		}
	}
	return strings.Join(list, ",")
}

// stateDirectory returns where our state is if nobody says otherwise. systemd
// may name several, with colons; the first is ours.
func stateDirectory() string {
	dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":")
	return cmp.Or(dir, "/var/lib/cpimgate")
}

// store checks where records are kept.
func (k *checker) store(c *Config) {
	s := &c.Store
	at := func(key string) []string { return []string{"store", key} }
	if s.URL == "" {
		for key, v := range map[string]bool{
			"credentials_file": s.CredentialsFile != "", "ca_file": s.CAFile != "", "name": s.Name != "", "replicas": s.Replicas != 0,
		} {
			if v {
				k.at(at(key), "%s is for a store at url", key)
			}
		}
	} else if s.Dir != "" {
		k.at(at("dir"), "a store has a dir or a url, not both")
	}
	for _, u := range strings.Split(string(s.URL), ",") {
		parsed, err := url.Parse(strings.TrimSpace(u))
		if s.URL != "" && (err != nil || parsed.Host == "" || parsed.Scheme != "nats" && parsed.Scheme != "tls") {
			k.at(at("url"), "url: want nats://host:4222 or tls://host:4222")
		}
	}
	s.CredentialsFile, s.CAFile = k.path(c, at("credentials_file"), s.CredentialsFile), k.path(c, at("ca_file"), s.CAFile)
	if s.Sync < 0 || s.Sync > time.Minute {
		k.at(at("sync"), "sync is 0s to 1m, not %s", s.Sync)
	}
	switch s.Replicas {
	case 0, 1, 3, 5:
	default:
		k.at(at("replicas"), "replicas is 1, 3 or 5, not %d", s.Replicas)
	}
	s.Name = cmp.Or(s.Name, "cpimgate")
	if strings.Trim(s.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
		k.at(at("name"), "name: want letters, digits and hyphens, not %q", s.Name)
	}
	switch {
	case s.URL != "":
	case s.Dir == "":
		s.Dir = stateDirectory()
	case !filepath.IsAbs(s.Dir):
		s.Dir = filepath.Join(filepath.Dir(c.file), s.Dir)
	}
}
