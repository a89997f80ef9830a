package s2s

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"strings"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// Key returns the dialback key of a stream (XEP-0185, section 2): proof that
// who sends it shares the secret with who is asked about it.
func Key(secret []byte, receiving, originating, streamID string) string {
	hashed := sha256.Sum256(secret)
	mac := hmac.New(sha256.New, []byte(hex.EncodeToString(hashed[:])))
	mac.Write([]byte(receiving + " " + originating + " " + streamID))
	return hex.EncodeToString(mac.Sum(nil))
}

// A dbElement is one step of dialback (XEP-0220, section 2).
type dbElement struct {
	name      string // result, verify
	from, to  string // in the spelling of federation.Domain
	id        string // of the stream in question, in verify
	typ       string // "", valid, invalid, error
	condition string // of an error
	key       string
}

// append writes the element. It has the prefix that the stream header has
// declared: some accept no other (XEP-0220, section 2.4.1).
func (d dbElement) append(dst []byte) []byte {
	dst = append(dst, "<db:"+d.name...)
	for _, a := range [...]struct{ name, value string }{
		{"from", uLabels(d.from)}, {"to", uLabels(d.to)}, {"id", d.id}, {"type", d.typ},
	} {
		if a.value != "" {
			dst = append(dst, " "+a.name+"='"+xmltree.Escape(a.value)+"'"...)
		}
	}
	dst = append(dst, '>')
	if d.condition != "" {
		dst = xmltree.New(xep.NS, "error", xmltree.New(xep.NSStanzas, d.condition)).With("type", "cancel").Append(dst, xep.NS)
	}
	dst = append(dst, xmltree.Escape(d.key)...)
	return append(dst, "</db:"+d.name+">"...)
}

// maxStray is how many elements that answer nothing we read while we wait.
const maxStray = 32

// dialback proves us to the peer as initiating server (XEP-0220, section
// 2.1.1).
func (o *outbound) dialback() error {
	ask := dbElement{name: "result", from: o.from, to: o.to, key: Key(o.srv.secret, o.to, o.from, o.id)}
	answer, err := o.ask(ask)
	if err != nil {
		return err
	}
	switch answer.Get("type") {
	case "valid":
		o.auth = "dialback"
		return nil
	case "invalid":
		return fault.Wrap(fault.Internal, errInvalid, "the far server does not accept us")
	}
	return fault.Wrap(fault.Timeout, fmt.Errorf("dialback: %s", dialbackError(answer)), "the far server could not verify us")
}

// ask sends a request of dialback and waits for its answer.
func (o *outbound) ask(d dbElement) (*xmltree.Element, error) {
	if _, err := o.write(d.append(nil)); err != nil {
		return nil, err
	}
	for range maxStray {
		e, err := o.next()
		if err != nil {
			return nil, noEOF(err)
		}
		if e.Name.Space != nsDialback {
			return nil, refuse("unsupported-stanza-type", "%s during dialback", printable(e.Name.Local))
		}
		if d.answeredBy(e) {
			return e, nil
		}
		if err := o.takeDialback(e); err != nil {
			return nil, err
		}
	}
	return nil, refuse("policy-violation", "no answer among %d elements", maxStray)
}

// answeredBy reports that an element is the answer to the request: the same with
// the addresses swapped and a type.
func (d dbElement) answeredBy(e *xmltree.Element) bool {
	from, err1 := bareDomain(e.Get("from"))
	to, err2 := bareDomain(e.Get("to"))
	same := d.name == "result" || e.Get("id") == d.id // some put the stream's id into a result, too
	return err1 == nil && err2 == nil && e.Name.Local == d.name && from == d.to && to == d.from && same && isVerdict(e.Get("type"))
}

func isVerdict(s string) bool { return s == "valid" || s == "invalid" || s == "error" }

// dialbackError names the condition of an answer of type error.
func dialbackError(e *xmltree.Element) string {
	if x := e.Child(xep.NS, "error"); x != nil {
		for c := range x.Elements() {
			return printable(c.Name.Local)
		}
	}
	return "error without a condition"
}

// verify asks the authoritative server whether a key is its domain's (XEP-0220,
// section 2.1.2): "valid", "invalid", or the condition of a dialback error
// (section 2.5). It uses a connection of its own, never the one that carried
// the key.
func (s *Server) verify(ctx context.Context, k key, streamID, dialbackKey string) string {
	out, err := s.dial(ctx, key{from: k.to, to: k.from}, asVerifier)
	if err != nil {
		s.cfg.Log.Info("dialback: authoritative server not reached", "peer", k.from, "err", err)
		if fault.KindOf(err) == fault.NoRoute {
			return "remote-server-not-found"
		}
		return "remote-connection-failed"
	}
	ctx, cancel := context.WithTimeout(ctx, s.lim.Handshake)
	defer cancel()
	defer context.AfterFunc(ctx, out.stop)()
	answer, err := out.ask(dbElement{name: "verify", from: k.to, to: k.from, id: streamID, key: dialbackKey})
	if err == nil {
		out.finish()
	}
	out.quit(err)
	switch {
	case err != nil:
		s.cfg.Log.Info("dialback: no answer from the authoritative server", "peer", k.from, "err", err)
		return "remote-server-timeout"
	case answer.Get("type") == "error":
		return "remote-server-not-found"
	}
	return answer.Get("type")
}

// takeDialback takes a request of the peer, as receiving server for "result", as
// authoritative one for "verify". A type makes it an answer: one that nobody
// waits for is dropped, and so is a request on a stream on which the peer has
// nothing to say (XEP-0220, section 3.1; XEP-0288, section 4).
func (s *stream) takeDialback(e *xmltree.Element) error {
	from, err1 := bareDomain(e.Get("from"))
	to, err2 := bareDomain(e.Get("to"))
	d := dbElement{name: e.Name.Local, from: to, to: from, id: e.Get("id"), typ: "error"}
	if s.judged(e) {
		return nil
	}
	if _, typed := e.Lookup(xml.Name{Local: "type"}); typed || !s.hears() {
		s.log().Warn("unsolicited dialback dropped", "element", printable(d.name), "type", printable(e.Get("type")))
		return nil
	}
	switch {
	case err1 != nil || err2 != nil:
		return refuse("improper-addressing", "dialback without addresses")
	case d.name != "result" && d.name != "verify":
		return refuse("unsupported-stanza-type", "%s", printable(d.name))
	case !s.srv.cfg.Book.Stands(federation.XMPP, to):
		d.condition = "item-not-found"
	case s.tls == nil && s.srv.cfg.Book.Rules(from).Security != federation.PlainOK:
		d.condition = "policy-violation"
	case d.name == "verify":
		s.heard = true
		d.typ = "invalid"
		if hmac.Equal([]byte(strings.TrimSpace(e.Text())), []byte(Key(s.srv.secret, from, to, d.id))) {
			d.typ = "valid"
		}
	default:
		d.id = ""
		return s.result(key{from, to}, strings.TrimSpace(e.Text()))
	}
	_, err := s.write(d.append(nil))
	return err
}

// How many pairs of domains one stream may ask for, in all and at the same
// time: each costs us a connection.
const (
	maxPairs  = 64
	maxAsking = 8
)

// result decides about a pair that the peer asks for: by its certificate, else
// by a call back where the peer's rules allow that (decision D-73).
func (s *stream) result(k key, dialbackKey string) error {
	rules := s.srv.cfg.Book.Rules(k.from)
	proven := s.tls != nil && s.srv.cfg.Trust.Verify(federation.XMPP, *s.tls, k.from) == nil
	switch {
	case !rules.Allow, s.srv.cfg.Book.Stands(federation.XMPP, k.from):
		return s.answer(k, "policy-violation")
	case !proven && rules.Security == federation.Required:
		return s.answer(k, "not-authorized")
	case !s.fits(k):
		return s.answer(k, "resource-constraint")
	case proven:
		s.authorise(k, federation.Certificate)
		return s.answer(k, "valid")
	}
	again, room := s.asks(k)
	switch {
	case again: // the answer is on its way
		return nil
	case !room:
		return s.answer(k, "resource-constraint")
	}
	id, ctx := s.id, s.ctx
	s.checks.Go(func() {
		verdict := s.srv.verify(ctx, k, id, dialbackKey)
		if verdict == "valid" {
			s.authorise(k, federation.Dialback)
		}
		s.asked(k)
		if err := s.answer(k, verdict); err != nil {
			s.halt(err)
		}
	})
	return nil
}

// answer tells the peer what became of a pair. A peer whose only key is invalid
// loses the stream (XEP-0220, section 2.2.1), and so does one that has nothing
// to offer but dialback where that is not enough.
func (s *stream) answer(k key, verdict string) error {
	d := dbElement{name: "result", from: k.to, to: k.from, typ: "error", condition: verdict}
	var last error
	switch alone := !s.authorised(); {
	case verdict == "valid":
		d.typ, d.condition = "valid", ""
	case verdict == "invalid" && alone:
		d.typ, d.condition = "invalid", ""
		last = refuse("not-authorized", "dialback failed")
	case verdict == "invalid":
		d.condition = "forbidden"
	case verdict == "not-authorized" && alone:
		last = refuse("policy-violation", "a certificate is needed here")
	}
	if d.typ != "valid" {
		s.srv.cfg.Count(Mismatched)
		s.log().Warn("dialback refused", "peer", k.from, "to", k.to, "verdict", verdict)
	}
	_, err := s.compose(func() []byte {
		if verdict == "valid" {
			s.told(k) // what answers the pair comes behind this
		}
		return d.append(nil)
	})
	return cmp.Or(err, last)
}

// fits reports that the stream has room for a pair.
func (s *stream) fits(k key) bool {
	s.state.Lock()
	defer s.state.Unlock()
	_, there := s.pairs[k]
	return there || s.asking[k] || len(s.asking)+len(s.pairs) < maxPairs
}

// asks notes that a call back for a pair is on its way, unless one is, or too
// many are.
func (s *stream) asks(k key) (again, room bool) {
	s.state.Lock()
	defer s.state.Unlock()
	again = s.asking[k]
	room = !again && len(s.asking) < maxAsking
	if room {
		s.asking[k] = true
	}
	return again, room
}

// asked notes the end of a call back.
func (s *stream) asked(k key) {
	s.state.Lock()
	defer s.state.Unlock()
	delete(s.asking, k)
}
