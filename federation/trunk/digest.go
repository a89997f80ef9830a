package trunk

import (
	"bytes"
	"io"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"cpimgate/cpim/sipx"
)

// Bounds of what peers can make us remember and do.
const (
	maxLogins = 1024 // domains whose challenges are remembered
	maxRealms = 4    // challenges that one request answers
)

// A login is a challenge that we can answer: once by itself, and from then on
// in each request to the same domain, with a rising nonce count (RFC 7616,
// section 3.4; RFC 3261, section 22.1).
type login struct {
	field     string // Authorization or Proxy-Authorization
	challenge *digest.Challenge
	count     int // of requests that have used the nonce
}

// answers are the header fields of a challenge and of its answer, by status
// (RFC 3261, sections 22.2 and 22.3).
var answers = map[int]struct{ challenge, answer string }{
	sip.StatusUnauthorized:      {"WWW-Authenticate", "Authorization"},
	sip.StatusProxyAuthRequired: {"Proxy-Authenticate", "Proxy-Authorization"},
}

// challenges returns what a response asks for, one challenge of each realm: the
// first in it that we know how to answer (RFC 8760, section 2.4). Basic is none
// (RFC 3261, section 22).
func challenges(res *sip.Response) []*login {
	fields, ok := answers[res.StatusCode]
	if !ok {
		return nil
	}
	var list []*login
	seen := make(map[string]bool)
	for _, value := range sipx.Values(res, fields.challenge) {
		c, err := digest.ParseChallenge(value)
		if err != nil || seen[c.Realm] || c.Nonce == "" || len(list) == maxRealms {
			continue
		}
		for i := range c.QOP {
			c.QOP[i] = strings.ToLower(strings.TrimSpace(c.QOP[i]))
		}
		if digest.CanDigest(c) {
			seen[c.Realm] = true
			list = append(list, &login{field: fields.answer, challenge: c})
		}
	}
	return list
}

// authorize returns the request with the answers to a response's challenges
// beside those that it has; false where we have none, or where one that was
// made for this request has been refused: then the password is wrong. The realms
// that have been answered are noted.
func (t *Trunk) authorize(req *sip.Request, res *sip.Response, domain string, answered map[string]bool) (*sip.Request, bool) {
	asked := challenges(res)
	if t.cfg.Credentials == nil || len(asked) == 0 || len(answered)+len(asked) > maxRealms {
		return nil, false
	}
	for _, l := range asked {
		realm := l.field + " " + l.challenge.Realm
		if _, _, ok := t.cfg.Credentials(domain, l.challenge.Realm); !ok || answered[realm] {
			return nil, false
		}
		answered[realm] = true
	}
	t.remember(domain, asked)
	return t.signed(successor(req), domain), true
}

// successor is the request that follows a challenged one: the same but for its
// CSeq (RFC 3261, section 22.2).
func successor(req *sip.Request) *sip.Request {
	next := req.Clone()
	if h := next.CSeq(); h != nil {
		next.ReplaceHeader(&sip.CSeqHeader{SeqNo: h.SeqNo + 1, MethodName: h.MethodName})
	}
	return next
}

// remember keeps challenges for the next requests to a domain, instead of older
// ones of the same realms.
func (t *Trunk) remember(domain string, fresh []*login) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := fresh
	old, _ := t.logins.Get(domain)
	for _, l := range old {
		replaced := len(list) == maxRealms
		for _, f := range fresh {
			replaced = replaced || f.field == l.field && f.challenge.Realm == l.challenge.Realm
		}
		if !replaced {
			list = append(list, l)
		}
	}
	t.logins.Add(domain, list)
}

// signed returns the request with our credentials for what the domain has asked
// before, so that it need not ask again.
func (t *Trunk) signed(req *sip.Request, domain string) *sip.Request {
	t.mu.Lock()
	list, _ := t.logins.Get(domain)
	counts := make([]int, len(list))
	for i, l := range list {
		l.count++
		counts[i] = l.count
	}
	t.mu.Unlock()
	if len(list) == 0 {
		return req
	}
	out := req.Clone()
	remove(out, "Authorization")
	remove(out, "Proxy-Authorization")
	for i, l := range list {
		user, password, ok := t.cfg.Credentials(domain, l.challenge.Realm)
		if !ok {
			continue // taken out of the file
		}
		c, err := digest.Digest(l.challenge, digest.Options{
			Method: string(out.Method), URI: out.Recipient.String(), Count: counts[i], Username: user, Password: password,
			GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Body())), nil },
		})
		if err != nil {
			continue // CanDigest has said that it can
		}
		if h, err := sipx.Header(l.field, c.String()); err == nil { // a control character in the challenge
			out.AppendHeader(h)
		}
	}
	return out
}
