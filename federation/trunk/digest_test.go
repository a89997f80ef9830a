package trunk

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
)

// A guard is a peer's server that asks for passwords. It computes by itself what
// the answers must be (RFC 3261, section 22.4; RFC 7616, section 3.4.1).
type guard struct {
	t     *testing.T
	asks  []ask // a request must answer all
	nonce int   // of the next challenge
	left  int   // requests that the current nonce is good for; 0 for any number
	used  map[string]string
	seen  []*sip.Request
}

type ask struct {
	status    int
	realm     string
	algorithm string // as offered: several fields, the first is wanted
	qop       string
}

// ServeSIP runs in turn: there is one connection.
func (g *guard) serve(req *sip.Request, _ federation.Peer, tx Tx) error {
	g.seen = append(g.seen, req)
	for _, a := range g.asks {
		fields := answers[a.status]
		var mine map[string]string
		for _, value := range sipx.Values(req, fields.answer) {
			if p := parameters(value); p["realm"] == a.realm {
				mine = p
			}
		}
		if why := g.refuses(a, req, mine); why != "" {
			g.nonce++
			res := Reply(req, a.status, why)
			for algorithm := range strings.SplitSeq(a.algorithm, " ") {
				value := fmt.Sprintf(`Digest realm="%s", nonce="n%d", algorithm=%s, opaque="o\"", stale=%v`, a.realm, g.nonce, algorithm, why == "stale")
				if algorithm == "Basic" {
					value = fmt.Sprintf(`Basic realm="%s"`, a.realm)
				}
				if a.qop != "" {
					value += `, qop="` + a.qop + `"`
				}
				res.AppendHeader(sip.NewHeader(fields.challenge, value))
			}
			return tx.Answer(res)
		}
	}
	return tx.Answer(Reply(req, 200, "OK"))
}

// refuses says why credentials are not good, "" if they are.
func (g *guard) refuses(a ask, req *sip.Request, p map[string]string) string {
	if p == nil {
		return "none"
	}
	if p["nonce"] != fmt.Sprintf("n%d", g.nonce) && len(g.asks) == 1 {
		return "stale"
	}
	if last := g.used[p["nonce"]]; a.qop != "" && p["nc"] <= last || p["opaque"] != `o"` || p["uri"] != req.Recipient.String() {
		g.t.Errorf("credentials %v after nc %s", p, last)
	}
	g.used[p["nonce"]] = p["nc"]
	if g.left > 0 && p["nc"] > fmt.Sprintf("%08x", g.left) {
		return "stale"
	}
	hash := func(parts ...string) string {
		text := []byte(strings.Join(parts, ":"))
		if p["algorithm"] == "MD5" {
			sum := md5.Sum(text)
			return hex.EncodeToString(sum[:])
		}
		sum := sha256.Sum256(text)
		return hex.EncodeToString(sum[:])
	}
	ha1 := hash(`gate"way`, a.realm, "secret")
	ha2 := []string{string(req.Method), p["uri"]}
	if p["qop"] == "auth-int" {
		ha2 = append(ha2, hash(string(req.Body())))
	}
	want := hash(ha1, p["nonce"], hash(ha2...))
	if p["qop"] != "" {
		want = hash(ha1, p["nonce"], p["nc"], p["cnonce"], p["qop"], hash(ha2...))
	}
	if p["response"] != want {
		return "wrong"
	}
	return ""
}

// parameters reads the credentials that we write; none has a comma in it.
func parameters(value string) map[string]string {
	p := make(map[string]string)
	value, ok := strings.CutPrefix(value, "Digest ")
	for item := range strings.SplitSeq(value, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(item), "=")
		if v, quoted := strings.CutSuffix(v, `"`); quoted {
			p[k] = strings.ReplaceAll(v[1:], `\`, "")
			continue
		}
		p[k] = v
	}
	if !ok {
		return nil
	}
	return p
}

// guarded runs a trunk with a password, and a peer that asks for it.
func guarded(t *testing.T, g *guard, password string) *Trunk {
	g.t, g.used = t, make(map[string]string)
	bl := listenTCP(t)
	a := start(t, Config{Locate: places{"b.example": {at("b.example", bl.Addr().String(), "tcp")}},
		Credentials: func(domain, realm string) (string, string, bool) {
			return `gate"way`, password, domain == "b.example" && realm != "strange"
		}})
	start(t, Config{TCP: []net.Listener{bl}, Book: local(), Handler: serveFunc(g.serve)})
	return a
}

// TestDigest: challenges are answered, once each.
func TestDigest(t *testing.T) {
	rows := []struct {
		name   string
		asks   []ask
		status int
		sent   int // requests
		want   string
	}{
		{"no challenge", nil, 200, 1, ""},
		{"sha-256", []ask{{401, "b", "SHA-256", "auth"}}, 200, 2, "SHA-256 auth"},
		{"md5", []ask{{401, "b", "MD5", "auth"}}, 200, 2, "MD5 auth"},
		{"md5 without qop", []ask{{401, "b", "MD5", ""}}, 200, 2, "MD5 "},
		{"the first that we know", []ask{{401, "b", "SHA-3 SHA-256 MD5", "auth"}}, 200, 2, "SHA-256 auth"},
		{"the topmost, though weaker", []ask{{401, "b", "MD5 SHA-256", "auth"}}, 200, 2, "MD5 auth"},
		{"auth before auth-int", []ask{{401, "b", "MD5", "auth-int, auth"}}, 200, 2, "MD5 auth"},
		{"auth-int", []ask{{401, "b", "SHA-256", "auth-int"}}, 200, 2, "SHA-256 auth-int"},
		{"proxy", []ask{{407, "p", "SHA-256", "auth"}}, 200, 2, "SHA-256 auth"},
		{"proxy and server", []ask{{407, "p", "SHA-256", "auth"}, {401, "b", "MD5", "auth"}}, 200, 3, "SHA-256 auth"},
		{"basic", []ask{{401, "b", "Basic", ""}}, 401, 1, ""},
		{"unknown algorithm", []ask{{401, "b", "MD5-sess", "auth"}}, 401, 1, ""},
		{"unknown qop", []ask{{401, "b", "MD5", "auth-conf"}}, 401, 1, ""},
		{"realm without password", []ask{{407, "strange", "MD5", "auth"}}, 407, 1, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			g := &guard{asks: row.asks}
			a := guarded(t, g, "secret")
			if r := send(a, message("sip:r@a.example", "sip:j@b.example", "hello"), "b.example"); r.status() != row.status {
				t.Error(r.res, r.err)
			}
			if len(g.seen) != row.sent {
				t.Fatalf("%d requests", len(g.seen))
			}
			last := g.seen[len(g.seen)-1]
			if row.want != "" {
				p := parameters(sipx.Value(last, answers[row.asks[0].status].answer))
				if got := p["algorithm"] + " " + p["qop"]; got != row.want {
					t.Errorf("%s, want %s", got, row.want)
				}
			}
			sameRequest(t, g.seen)
		})
	}
}

// sameRequest: what follows a challenge has the same Call-ID, From and To and
// the next CSeq (RFC 3261, section 22.2), and a branch of its own.
func sameRequest(t *testing.T, seen []*sip.Request) {
	t.Helper()
	first := seen[0]
	branches := make(map[string]bool)
	for i, req := range seen {
		if req.CallID().Value() != first.CallID().Value() || req.From().Value() != first.From().Value() || req.CSeq().SeqNo != first.CSeq().SeqNo+uint32(i) {
			t.Errorf("%v follows %v", req, first)
		}
		branch, _ := req.Via().Params.Get("branch")
		if branches[branch] {
			t.Error("same branch")
		}
		branches[branch] = true
	}
}

// TestWrongPassword: it is tried once by each request, and not before it is
// asked for.
func TestWrongPassword(t *testing.T) {
	g := &guard{asks: []ask{{401, "b", "SHA-256", "auth"}}}
	a := guarded(t, g, "guess")
	for range 2 {
		if r := send(a, message("sip:r@a.example", "sip:j@b.example", "x"), "b.example"); r.status() != 401 {
			t.Error(r)
		}
	}
	var tried []bool
	for _, req := range g.seen {
		tried = append(tried, sipx.Value(req, "Authorization") != "")
	}
	if !slices.Equal(tried, []bool{false, true, false, true}) {
		t.Error(tried)
	}
}

// TestNonceCount: the first request is challenged, those that follow use the
// same nonce with a rising count (RFC 7616, section 3.4), until it is stale:
// then they take the next.
func TestNonceCount(t *testing.T) {
	g := &guard{asks: []ask{{401, "b", "SHA-256", "auth"}}, left: 3}
	a := guarded(t, g, "secret")
	var got []string
	for range 5 {
		if r := send(a, message("sip:r@a.example", "sip:j@b.example", "x"), "b.example"); r.status() != 200 {
			t.Fatal(r.res, r.err)
		}
	}
	for _, req := range g.seen {
		p := parameters(sipx.Value(req, "Authorization"))
		got = append(got, p["nonce"]+" "+strings.TrimLeft(p["nc"], "0"))
	}
	if want := []string{" ", "n1 1", "n1 2", "n1 3", "n1 4", "n2 1", "n2 2"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestOtherDomain: what one domain has asked another does not get.
func TestOtherDomain(t *testing.T) {
	g := &guard{asks: []ask{{401, "b", "MD5", "auth"}}}
	a := guarded(t, g, "secret")
	to := a.cfg.Locate.(places)["b.example"][0]
	to.Domain = "c.example"
	a.cfg.Locate.(places)["c.example"] = []federation.Target{to}
	if r := send(a, message("sip:r@a.example", "sip:j@b.example", "x"), "b.example"); r.status() != 200 {
		t.Fatal(r)
	}
	if r := send(a, message("sip:r@a.example", "sip:j@c.example", "x"), "c.example"); r.status() != 401 {
		t.Error(r)
	}
	if last := g.seen[len(g.seen)-1]; len(last.GetHeaders("Authorization")) > 0 {
		t.Error(last)
	}
}

// TestChallengeCheck: the request with the answer in it is looked at again: it
// is longer.
func TestChallengeCheck(t *testing.T) {
	g := &guard{asks: []ask{{401, "b", "MD5", "auth"}}}
	a := guarded(t, g, "secret")
	long := fault.E(fault.TooLarge, "too long")
	got := make(chan result, 1)
	first := 0
	a.Send(message("sip:r@a.example", "sip:j@b.example", "x"), "b.example", Sending{Check: func(size int) error {
		if first > 0 && size > first+len("Authorization: ") {
			return long
		}
		first = size
		return nil
	}}, func(res *sip.Response, err error) { got <- result{res, err} })
	if r := <-got; r.err != long || len(g.seen) != 1 {
		t.Errorf("%v %v, %d requests", r.res, r.err, len(g.seen))
	}
}

// FuzzChallenge: whatever a peer asks, what we answer is a header field.
func FuzzChallenge(f *testing.F) {
	f.Add(`Digest realm="b", nonce="n", algorithm=SHA-256, qop="auth,auth-int", opaque="x"`)
	f.Add("Digest realm=\"a\\\"\x01\", nonce=\"é\\\\\"")
	f.Add(`Basic realm="b"`)
	f.Add(`Digest nonce="n", userhash=true, stale=TRUE, algorithm=md5, qop=auth`)
	tr := New(Config{Name: "a.example", Book: plain(), Locate: places{},
		Credentials: func(string, string) (string, string, bool) { return `u"\`, "p", true }})
	f.Fuzz(func(t *testing.T, value string) {
		res := sip.NewResponse(401, "x")
		res.AppendHeader(sip.NewHeader("WWW-Authenticate", value))
		req := message("sip:r@a.example", "sip:j@b.example", "x")
		tr.complete(req)
		next, ok := tr.authorize(req, res, "b.example", make(map[string]bool))
		if !ok {
			return
		}
		if err := sipx.CheckOutgoing(next); err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		if list := challenges(res); len(list) != 1 {
			t.Fatalf("answered, yet %d challenges", len(list))
		}
	})
}
