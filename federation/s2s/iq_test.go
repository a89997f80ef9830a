package s2s_test

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// capabilities are the features of a domain of ours, in the order of their octets.
var capabilities = []string{
	"http://jabber.org/protocol/caps", "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items",
	"jabber:iq:version", "urn:xmpp:ping",
}

// ver is the hash of our capabilities (XEP-0115, section 5.1).
func ver() string {
	sum := sha1.Sum([]byte("gateway/simple//cpimgate<server/im//cpimgate<" + strings.Join(capabilities, "<") + "<"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// offerCaps is what the features of our streams say of them, once TLS is there.
func offerCaps() string {
	return "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:cpimgate' ver='" + ver() + "'/>"
}

// Every request is answered once, over our own stream: a few to the domain with
// what they ask for, all others with an error that tells nothing about users
// (RFC 6120, section 8.2.3; RFC 6121, section 8.5).
func TestIQ(t *testing.T) {
	w := newWorld(t)
	l, is := w.far(), w.issue("b.example")
	d := w.start("a.example")
	in := d.call().secure("b.example", "a.example", is).send(head("b.example", "a.example"))
	in.expect("</stream:features>")
	in.send(auth("b.example")).expect(success)
	if got := in.send(head("b.example", "a.example")).expect("</stream:features>"); !strings.Contains(got, offerCaps()) {
		t.Errorf("features %s", got)
	}
	var back *raw
	ask := func(t *testing.T, iq string) string {
		t.Helper()
		in.send(iq)
		if back == nil {
			back = w.accept(l).serve(w, is, offerDialback)
			back.expect("</db:result>")
			back.send(valid)
		}
		return back.expect("</iq>")
	}
	refusal := func(id, from, typ, condition string) string {
		return fmt.Sprintf("<iq from='%s' to='juliet@b.example/x' id='%s' type='error'><error type='%s'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>", from, id, typ, condition)
	}
	iq := func(to, attrs, payload string) string {
		return "<iq from='juliet@b.example/x' to='" + to + "' " + attrs + ">" + payload + "</iq>"
	}
	result := func(payload string) string {
		return "<iq from='a.example' to='juliet@b.example/x' type='result' id='1'>" + payload + "</iq>"
	}
	info := "<identity category='gateway' type='simple' name='cpimgate'/><identity category='server' type='im' name='cpimgate'/>"
	for _, f := range capabilities {
		info += "<feature var='" + f + "'/>"
	}
	query := func(ns string) string { return "<query xmlns='" + ns + "'/>" }
	const get, set = "type='get' id='1'", "type='set' id='1'"
	for _, c := range []struct{ name, iq, want string }{
		{"disco#info", iq("a.example", get, query("http://jabber.org/protocol/disco#info")),
			result("<query xmlns='http://jabber.org/protocol/disco#info'>" + info + "</query>")},
		{"disco#info of our capabilities", iq("a.example", get, "<query xmlns='http://jabber.org/protocol/disco#info' node='urn:cpimgate#"+ver()+"'/>"),
			result("<query xmlns='http://jabber.org/protocol/disco#info' node='urn:cpimgate#" + ver() + "'>" + info + "</query>")},
		{"disco#info of a node", iq("a.example", get, "<query xmlns='http://jabber.org/protocol/disco#info' node='n'/>"), refusal("1", "a.example", "cancel", "item-not-found")},
		{"disco#items", iq("a.example", get, query("http://jabber.org/protocol/disco#items")), result("<query xmlns='http://jabber.org/protocol/disco#items'/>")},
		{"disco#items of a node", iq("a.example", get, "<query xmlns='http://jabber.org/protocol/disco#items' node='n'/>"),
			result("<query xmlns='http://jabber.org/protocol/disco#items' node='n'/>")},
		{"version", iq("a.example", get, query("jabber:iq:version")),
			result("<query xmlns='jabber:iq:version'><name>cpimgate</name><version>test</version></query>")},
		{"ping", iq("a.example", get, "<ping xmlns='urn:xmpp:ping'/>"), "<iq from='a.example' to='juliet@b.example/x' type='result' id='1'/>"},
		{"ping to a user", iq("romeo@a.example", get, "<ping xmlns='urn:xmpp:ping'/>"), refusal("1", "romeo@a.example", "cancel", "service-unavailable")},
		{"set of what is to be got", iq("a.example", set, "<ping xmlns='urn:xmpp:ping'/>"), refusal("1", "a.example", "cancel", "service-unavailable")},
		{"no id", iq("a.example", "type='get'", "<x xmlns='x'/>"), strings.Replace(refusal("", "a.example", "cancel", "service-unavailable"), " id='' type='error'", " type='error' id=''", 1)},
		{"no payload", iq("a.example", get, ""), refusal("1", "a.example", "modify", "bad-request")},
		{"two payloads", iq("romeo@a.example", get, "<a xmlns='a'/><b xmlns='b'/>"), refusal("1", "romeo@a.example", "modify", "bad-request")},
		{"no type", iq("a.example", "id='1'", "<a xmlns='a'/>"), refusal("1", "a.example", "modify", "bad-request")},
		{"unknown type", iq("a.example", "type='foo' id='1'", "<a xmlns='a'/>"), refusal("1", "a.example", "modify", "bad-request")},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := c.want
			if strings.HasSuffix(want, "/>") { // the result of ping has no end tag
				in.send(c.iq)
				if got := back.expect("/>"); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
				return
			}
			if got := ask(t, c.iq); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
	for _, ns := range []string{"jabber:iq:roster", "jabber:iq:private", "urn:xmpp:blocking", "urn:xmpp:mam:2", "urn:xmpp:carbons:2",
		"urn:ietf:params:xml:ns:xmpp-bind", "urn:ietf:params:xml:ns:xmpp-session", "jabber:iq:register", "vcard-temp",
		"http://jabber.org/protocol/pubsub", "jabber:iq:last", "urn:xmpp:time", "jabber:iq:search", "http://jabber.org/protocol/bytestreams",
		"http://jabber.org/protocol/si", "urn:xmpp:jingle:1", "jabber:iq:auth", "urn:xmpp:push:0", "urn:xmpp:http:upload:0", "made:up"} {
		for _, to := range []string{"a.example", "romeo@a.example", "romeo@a.example/orchard", "nobody@a.example"} {
			for _, typ := range []string{get, set} {
				t.Run(ns+" "+to+" "+typ[6:9], func(t *testing.T) {
					if got, want := ask(t, iq(to, typ, query(ns))), refusal("1", to, "cancel", "service-unavailable"); got != want {
						t.Errorf("got  %s\nwant %s", got, want)
					}
				})
			}
		}
	}
	t.Run("results and errors", func(t *testing.T) {
		in.send(iq("a.example", "type='result' id='1'", ""), iq("romeo@a.example", "type='error' id='2'", "<error type='cancel'/>"))
		if got := ask(t, iq("a.example", "type='get' id='next'", "<x xmlns='x'/>")); got != refusal("next", "a.example", "cancel", "service-unavailable") {
			t.Errorf("got %s", got)
		}
	})
}

// The hash in the features of a stream is that of what the domain says now, the
// addresses of those who run it included (XEP-0115, section 5.1).
func TestCaps(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example", func(s *settings) {
		s.s2s.Contact = func() map[string][]string {
			return map[string][]string{"admin": {"xmpp:x@a.example"}, "abuse": {"mailto:y@a.example", "mailto:x@a.example"}}
		}
	})
	r := d.call().secure("b.example", "a.example", w.issue("b.example")).send(head("b.example", "a.example"))
	sum := sha1.Sum([]byte("gateway/simple//cpimgate<server/im//cpimgate<" + strings.Join(capabilities, "<") + "<" +
		"http://jabber.org/network/serverinfo<abuse-addresses<mailto:x@a.example<mailto:y@a.example<admin-addresses<xmpp:x@a.example<"))
	ver := base64.StdEncoding.EncodeToString(sum[:])
	if got := r.expect("</stream:features>"); !strings.Contains(got, "ver='"+ver+"'") {
		t.Errorf("features %s, want %s", got, ver)
	}
	r.send(askBidi, auth("b.example")).expect(success)
	r.send(head("b.example", "a.example")).expect("</stream:features>")
	for _, node := range []string{ver, "other"} {
		r.send("<iq from='b.example' to='a.example' type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info' node='urn:cpimgate#" + node + "'/></iq>")
		if got := r.expect("</iq>"); strings.Contains(got, "<value>mailto:y@a.example</value>") != (node == ver) {
			t.Errorf("of %s: %s", node, got)
		}
	}
}
