package gateway_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// policy is the shape of the program: a line for each package, with all that it
// may import of ours besides cpim/fault. "x/..." is x and all below it. Test
// files may import more; packages that end in "test" are for them and, where a
// line says so, for the demo.
//
// It is policy: a line changes because the design does, not to make a build
// pass.
const policy = `
cmd/cpimgate: ...

cpim:
cpim/fault:
cpim/xmltree:
cpim/composing: cpim/xmltree
cpim/imdn:      cpim cpim/xmltree
cpim/sipx:
cpim/xep:       cpim/xmltree

mapping: cpim/...

federation:
federation/locate:          federation
federation/trust:           federation federation/locate
federation/trust/trusttest: federation federation/locate federation/trust
federation/s2s:             federation federation/locate federation/trust cpim/xep cpim/xmltree
federation/trunk:           federation federation/locate federation/trust cpim/sipx

gateway/step:   cpim/... federation
gateway/config: federation gateway/policy
gateway/policy: federation mapping cpim/...
gateway/shard:  gateway/step
gateway/talk:   gateway/step mapping cpim/... federation
gateway/store:
gateway/admin:  gateway/config
gateway/probe:  gateway/config federation federation/locate federation/trust federation/s2s federation/trunk cpim/sipx cpim/xmltree
gateway: cpim/... mapping federation federation/locate federation/trust federation/s2s federation/trunk gateway/step gateway/config gateway/policy gateway/shard gateway/store gateway/talk gateway/admin

gateway/gatewaytest:       ...
gateway/gatewaytest/load:  ...
gateway/gatewaytest/peers: ...

testdata:
testdata/verify:
`

// Packages that know what a message means must not reach a wire or a store, not
// even through others. What sipgo reaches is sipgo's affair. A store is reached
// by those that run machines, and by those above them.
var (
	pure      = []string{"cpim/...", "mapping", "gateway/step", "gateway/talk"}
	impure    = []string{"net/http", "crypto/tls", nats}
	exempt    = "github.com/emiago/sipgo/..."
	nats      = "github.com/nats-io/..."
	storing   = []string{"gateway/store", "gateway/shard", "gateway", "gateway/gatewaytest/...", "cmd/..."}
	noMellium = []string{"cpim/...", "mapping"}

	// Other packages of mellium pull in net and TLS.
	mellium = []string{"mellium.im/xmpp/jid", "mellium.im/xmpp/stanza", "mellium.im/xmlstream", "mellium.im/xmpp/disco/info"}
)

// module is what precedes the names of our packages.
const module = "cpimgate/"

// A graph holds the direct imports of each package, tests apart.
type graph map[string][]string

func TestImports(t *testing.T) {
	g := imports(t)
	for _, what := range g.against(policy) {
		t.Error(what)
	}
	for pkg := range g {
		ours, ok := strings.CutPrefix(pkg, module)
		if !ok {
			continue
		}
		if matches(ours, pure...) {
			if path := g.reach(pkg, impure...); path != nil {
				t.Errorf("%s must not reach %s: %s", ours, path[len(path)-1], strings.Join(path, " > "))
			}
		}
		if path := g.reach(pkg, nats); path != nil && (!matches(ours, storing...) || len(path) == 2 && ours != "gateway/store") {
			t.Errorf("%s must not reach a store: %s", ours, strings.Join(path, " > "))
		}
		for _, imp := range g[pkg] {
			if matches(ours, noMellium...) && matches(imp, "mellium.im/...") && !slices.Contains(mellium, imp) {
				t.Errorf("%s must not import %s", ours, imp)
			}
		}
	}
}

// TestPolicy applies the rules to a small graph that breaks each of them.
func TestPolicy(t *testing.T) {
	g := graph{
		"cpimgate/a":   {"cpimgate/b", "cpimgate/b/c", "cpimgate/cpim/fault", "fmt"},
		"cpimgate/b":   {"x.example/client"},
		"cpimgate/b/c": {"cpimgate/a", "github.com/emiago/sipgo/sip"},
		"cpimgate/new": nil,

		"x.example/client":            {"net/http"},
		"github.com/emiago/sipgo/sip": {"crypto/tls"},
	}
	got := g.against("a: b\nb:\nb/c: ...\nlater: a\n")
	want := []string{"a must not import b/c", "new is not in the table of gateway/deps_test.go"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := g.against("a: b/...\nb:\nb:\nb/c: a\nnew:\n"); !slices.Equal(got, []string{"b stands twice in the table of gateway/deps_test.go"}) {
		t.Errorf("%q", got)
	}
	if path := g.reach("cpimgate/b", impure...); strings.Join(path, " ") != "cpimgate/b x.example/client net/http" {
		t.Errorf("through a library: %q", path)
	}
	if path := (graph{"p": {"github.com/emiago/sipgo/sip"}, "github.com/emiago/sipgo/sip": {"crypto/tls"}}).reach("p", impure...); path != nil {
		t.Errorf("through sipgo: %q", path)
	}
}

// against returns in which ways our packages break the table.
func (g graph) against(table string) []string {
	may := map[string][]string{}
	var out []string
	for line := range strings.Lines(table) {
		pkg, list, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		if _, again := may[pkg]; again {
			out = append(out, pkg+" stands twice in the table of gateway/deps_test.go")
		}
		may[pkg] = strings.Fields(list)
	}
	for pkg, imps := range g {
		ours, ok := strings.CutPrefix(pkg, module)
		if !ok {
			continue
		}
		allowed, known := may[ours]
		if !known {
			out = append(out, ours+" is not in the table of gateway/deps_test.go")
			continue
		}
		for _, imp := range imps {
			imp, isOurs := strings.CutPrefix(imp, module)
			if isOurs && imp != "cpim/fault" && !matches(imp, allowed...) {
				out = append(out, ours+" must not import "+imp)
			}
		}
	}
	slices.Sort(out)
	return out
}

// reach returns a path from a package to one of those, or nil.
func (g graph) reach(from string, those ...string) []string {
	seen := map[string]bool{from: true}
	paths := [][]string{{from}}
	for len(paths) > 0 {
		path := paths[0]
		paths = paths[1:]
		for _, imp := range g[path[len(path)-1]] {
			next := append(slices.Clone(path), imp)
			if matches(imp, those...) {
				return next
			}
			if !seen[imp] && !matches(imp, exempt) {
				seen[imp] = true
				paths = append(paths, next)
			}
		}
	}
	return nil
}

// matches reports whether a package is one of the patterns: a name, "x/..." for
// x and all below it, or "..." for all.
func matches(pkg string, patterns ...string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		below, wide := strings.CutSuffix(p, "...")
		return wide && strings.HasPrefix(pkg+"/", below) || pkg == p
	})
}

// imports asks the go tool for the packages of the module and all that they
// need.
func imports(t *testing.T) graph {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports", "./...", "./testdata", "./testdata/verify")
	cmd.Dir = ".."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	g := graph{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return g
		} else if err != nil {
			t.Fatal(err)
		}
		g[p.ImportPath] = p.Imports
	}
}
