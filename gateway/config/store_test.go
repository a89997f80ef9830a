package config

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// TestStore: where records are kept, as systemd says, as the file says, and
// elsewhere; and no password is shown.
func TestStore(t *testing.T) {
	dir := directory(t)
	for _, tt := range []struct {
		state, yaml string
		want        Store
	}{
		{"", "", Store{Dir: "/var/lib/cpimgate", Sync: time.Second, Name: "cpimgate"}},
		{"/var/lib/gw:/var/lib/other", "", Store{Dir: "/var/lib/gw", Sync: time.Second, Name: "cpimgate"}},
		{"/var/lib/gw", "store: {dir: state, sync: 0s}\n", Store{Dir: filepath.Join(dir, "state"), Name: "cpimgate"}},
		{"", "store: {dir: /srv/gw}\n", Store{Dir: "/srv/gw", Sync: time.Second, Name: "cpimgate"}},
		{"/var/lib/gw", "store: {url: \"tls://u:secret@a.example,tls://b.example:4222\", ca_file: cert.pem, credentials_file: key.pem, name: west, replicas: 5}\n",
			Store{URL: "tls://u:secret@a.example,tls://b.example:4222", CAFile: filepath.Join(dir, "cert.pem"), CredentialsFile: filepath.Join(dir, "key.pem"),
				Sync: time.Second, Name: "west", Replicas: 5}},
	} {
		t.Setenv("STATE_DIRECTORY", tt.state)
		c, err := Parse(filepath.Join(dir, "x.yaml"), []byte(tt.yaml+good))
		if err != nil {
			t.Fatal(err)
		}
		if c.Store != tt.want {
			t.Errorf("%q: %+v, want %+v", tt.yaml, c.Store, tt.want)
		}
		shown, err := yaml.Marshal(c)
		if err != nil || strings.Contains(string(shown), "secret") {
			t.Errorf("shown, %v:\n%s", err, shown)
		}
	}
}
