package mapping

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim/fault"
	"cpimgate/testdata"
)

// addrURI reads the URI of a vector: alone, or as a name-addr.
func addrURI(t *testing.T, text string) (sip.Uri, error) {
	t.Helper()
	if !strings.HasPrefix(text, "<") {
		return ParseURI(text)
	}
	var u sip.Uri
	var params sip.HeaderParams
	if _, err := sip.ParseAddressValue(text, &u, &params); err != nil {
		t.Fatal(err)
	}
	return WithGRUU(u, params), nil
}

func TestVectorsToJID(t *testing.T) {
	run := func(t *testing.T, c *testdata.Case) {
		u, err := addrURI(t, strings.TrimSpace(c.Text("in.uri")))
		if err != nil {
			t.Fatal(err)
		}
		j, err := ToJID(u)
		if c.Has("out.error") {
			if status, _, _ := FaultToSIP(err); err == nil || strings.TrimSpace(c.Text("out.error")) != "404" || status != 404 {
				t.Fatalf("%v, %v", j, err)
			}
			return
		}
		if want := strings.TrimSpace(c.Text("out.jid")); err != nil || j.String() != want {
			t.Fatalf("%v, %v; want %s", j, err, want)
		}
		addrRoundTrip(t, j)
	}
	testdata.Vectors(t, "rfc7247", "addr-s2x-*", run)
	testdata.Vectors(t, "rfc7247", "addr-table-s2x-*", run)
	testdata.Vectors(t, "rfc3922", "addr-c2x-*", run)
}

func TestVectorsToURI(t *testing.T) {
	run := func(t *testing.T, c *testdata.Case) {
		scheme := c.Value("scheme")
		if scheme == "" {
			scheme = "sip"
		}
		c.Vary("m%26m is equivalent") // and we write the other
		u, err := ToURIScheme(jid.MustParse(strings.TrimSpace(c.Text("in.jid"))), scheme)
		if want := strings.TrimSpace(c.Text("out.uri")); err != nil || u.String() != want {
			t.Fatalf("%s, %v; want %s", u.String(), err, want)
		}
	}
	testdata.Vectors(t, "rfc7247", "addr-x2s-*", run)
	testdata.Vectors(t, "rfc7247", "addr-table-x2s-*", run)
	testdata.Vectors(t, "rfc3922", "addr-x2c-*", run)
}

// addrRoundTrip checks that the URI of a JID leads back to it, also after being
// written and read.
func addrRoundTrip(t interface{ Fatalf(string, ...any) }, j jid.JID) {
	u, err := ToURI(j)
	if err != nil {
		t.Fatalf("%s has no URI: %v", j, err)
	}
	var read sip.Uri
	if err := sip.ParseUri(u.String(), &read); err != nil || read.String() != u.String() {
		t.Fatalf("%s is read as %s, %v", u.String(), read.String(), err)
	}
	strict, err := ParseURI(u.String())
	if err != nil || strict.String() != u.String() {
		t.Fatalf("%s is read as %s, %v", u.String(), strict.String(), err)
	}
	if back, err := ToJID(read); err != nil || !back.Equal(j) {
		t.Fatalf("%s leads to %s, but that to %s, %v", j, u.String(), back, err)
	}
}

// SIP URIs and the JIDs that they have; "" is fault.NotFound.
func TestToJID(t *testing.T) {
	for _, row := range [...]struct{ name, uri, jid string }{
		{"ADDR-01 drops", "sip:a:pw@h.example:5070;transport=tcp?x=y", "a@h.example"},
		{"ADDR-01 sips", "SIPS:a@h.example", "a@h.example"},
		{"ADDR-03 at", "sip:a%40b@h.example", `a\40b@h.example`},
		{"ADDR-03 space", "sip:a%20b@h.example", `a\20b@h.example`},
		{"ADDR-05", "sip:o'malley@h.example", `o\27malley@h.example`},
		{"ADDR-07 upper case code", "sip:c%5C2Fx@h.example", `c\5c2fx@h.example`},
		{"XEP-0106 4.1 commas", "sip:c%3A%5C5commas@h.example", `c\3a\5c5commas@h.example`},
		{"XEP-0106 4.1 net", "sip:c%3A%5C%5Cnet@h.example", `c\3a\\net@h.example`},
		{"XEP-0106 4.2", "sip:%5C3and%5C2is%5C5cool@h.example", `\5c3and\2is\5c5cool@h.example`},
		{"XEP-0106 5.3", "sip:here%27s_a_wild_%26_%2Fcr%25zy%2F_address@h.example", `here\27s_a_wild_\26_\2fcr%zy\2f_address@h.example`},
		{"ADDR-08 first", "sip:%20a@h.example", ""},
		{"ADDR-08 last", "sip:a%20@h.example", ""},
		{"ADDR-08 literal", "sip:%5C20a@h.example", `\5c20a@h.example`},
		{"ADDR-09 lower case", "sip:F%C3%9C@h.example", "fü@h.example"},
		{"ADDR-09 width", "sip:%EF%BC%A1@h.example", "a@h.example"},
		{"ADDR-09 NFC", "sip:u%CC%88@h.example", "ü@h.example"},
		{"ADDR-11 1023", "sip:" + strings.Repeat("a", 1023) + "@h.example", strings.Repeat("a", 1023) + "@h.example"},
		{"ADDR-11 1024", "sip:" + strings.Repeat("a", 1024) + "@h.example", ""},
		{"ADDR-11 escaped", "sip:" + strings.Repeat("&", 342) + "@h.example", ""},
		{"ADDR-11 gr 1024", "sip:a@h.example;gr=" + strings.Repeat("a", 1024), ""},
		{"ADDR-12", "sip:h.example;gr=x", "h.example/x"},
		{"ADDR-13 brackets", "sip:h.example;x=[::1];gr=[]?a=[b]", "h.example/[]"},
		{"ADDR-13 escapes", "sip:a@h.example;GR=Work%20PC%3B1%3D%C3%BC", "a@h.example/Work PC;1=ü"},
		{"ADDR-14", "sip:tgruu.7hs==jd@h.example;gr", "tgruu.7hs==jd@h.example"},
		{"ADDR-18 headers", "im:a@h.example?x=y", "a@h.example"},
		{"ADDR-18 specials", "pres:a(b),c;d@h.example", "a(b),c;d@h.example"},
		{"ADDR-23 IPv4", "sip:u@192.0.2.1:5060", "u@192.0.2.1"},
		{"ADDR-23 IPv6", "sip:u@[2001:DB8:0::1]:5060", "u@[2001:db8::1]"},
		{"ADDR-23 mapped", "sip:u@[::ffff:192.0.2.1]", ""},
		{"ADDR-23 number", "sip:u@192.0.2.256", ""},
		{"ADDR-24 final dot", "sip:a@H.example.", "a@h.example"},
		{"ADDR-24 sharp s", "sip:a@XN--FA-HIA.example", "a@faß.example"},
		{"ADDR-24 no A-label", "sip:a@xn--a.example", ""},
		{"ADDR-25 global", "sip:+1-(415).555-0100@h.example;User=Phone", "+14155550100@h.example"},
		{"ADDR-25 not user=phone", "sip:+1-415@h.example", "+1-415@h.example"},
		{"ADDR-25 a name", "sip:d.a.d@h.example;user=phone", "d.a.d@h.example"},
		{"ADDR-25 no context", "sip:5-55@h.example;user=phone", "5-55@h.example"},
		{"ADDR-25 context", "sip:5-55;phone-context=+1@h.example;user=phone", "555;phone-context=+1@h.example"},
		{"ADDR-26", "sip:+1234;phone-context=+1@h.example", "+1234;phone-context=+1@h.example"},
		{"ADDR-26 isub", "sip:+1234;isub=9@h.example;user=phone", "+1234;isub=9@h.example"},
		{"ADDR-27 emoji", "sip:%F0%9F%98%80@h.example", ""},
		{"ADDR-27 control", "sip:a%7Fb@h.example", ""},
		{"ADDR-27 control in gr", "sip:a@h.example;gr=a%0Ab", ""},
		{"ADDR-27 UTF-8 in gr", "sip:a@h.example;gr=%FF", ""},
		{"ADDR-33", "im:sip=h.example/u@relay.example", `sip=h.example\2fu@relay.example`},
		{"ADDR-35 full-width at", "sip:a%EF%BC%A0b@h.example", ""},
		{"ADDR-35 full-width apostrophe", "sip:a%EF%BC%87b@h.example", ""},
		{"ADDR-35 full-width quote", "sip:a%EF%BC%82b@h.example", ""},
		{"ADDR-35 full-width ampersand", "sip:a%EF%BC%86b@h.example", ""},
		{"ADDR-35 full-width slash", "sip:a%EF%BC%8Fb@h.example", ""},
		{"ADDR-35 full-width colon", "sip:a%EF%BC%9Ab@h.example", ""},
		{"ADDR-35 full-width less", "sip:a%EF%BC%9Cb@h.example", ""},
		{"ADDR-35 full-width greater", "sip:a%EF%BC%9Eb@h.example", ""},
		{"alias of %5C27", "sip:%EF%BC%BC27@h.example", ""},
		{"alias of a space", "sip:a%5C%EF%BC%92%EF%BC%90b@h.example", ""},
		{"alias of %5C3%C3%A7", "sip:%3C%CC%A7@h.example", ""}, // the cedilla joins the c of \3c
	} {
		t.Run(row.name, func(t *testing.T) {
			u, err := ParseURI(row.uri)
			if err != nil {
				t.Fatal(err)
			}
			j, err := ToJID(u)
			if row.jid == "" {
				if fault.KindOf(err) != fault.NotFound {
					t.Fatalf("%v, %v", j, err)
				}
				return
			}
			if err != nil || j.String() != row.jid {
				t.Fatalf("%v, %v; want %s", j, err, row.jid)
			}
			addrRoundTrip(t, j)
		})
	}
}

// JIDs and the SIP URIs that they have; "" is fault.NotFound.
func TestToURI(t *testing.T) {
	for _, row := range [...]struct{ name, jid, uri string }{
		{"ADDR-04", "a#b@x.example", "sip:a%23b@x.example"},
		{"ADDR-12", "x.example", "sip:x.example"},
		{"ADDR-16", "a@x.example/Work PC;1=ü", "sip:a@x.example;gr=Work%20PC%3B1%3D%C3%BC"},
		{"ADDR-16 quotes", `a@x.example/">,;`, "sip:a@x.example;gr=%22%3E%2C%3B"},
		{"ADDR-23", "u@[2001:db8::1]", "sip:u@[2001:db8::1]"},
		{"ADDR-23 second spelling", "u@[2001:db8:0::1]", ""},
		{"ADDR-34 no code", `a\5cb@x.example`, ""},
		{"ADDR-34 last", `a\5c@x.example`, ""},
		{"ADDR-34 space first", `\20a@x.example`, ""},
		{"ADDR-34 space last", `a\20@x.example`, ""},
		{"two slashes", `\2f\2fa@x.example`, "sip:%2F/a@x.example"},
		{"ADDR-34 its twin", `a\b@x.example`, "sip:a%5Cb@x.example"},
	} {
		t.Run(row.name, func(t *testing.T) {
			u, err := ToURI(jid.MustParse(row.jid))
			if row.uri == "" {
				if fault.KindOf(err) != fault.NotFound {
					t.Fatalf("%s, %v", u.String(), err)
				}
				return
			}
			if err != nil || u.String() != row.uri {
				t.Fatalf("%s, %v; want %s", u.String(), err, row.uri)
			}
			addrRoundTrip(t, jid.MustParse(row.jid))
		})
	}
}

// mellium makes JIDs of hosts that are none to its own parser.
func TestToURIHosts(t *testing.T) {
	for _, host := range []string{"..", "a..b", "-a.example", "a_b.example", "a/b", "a@b", "", "1", "[fe80::1%eth0]", "[::1]x",
		strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 124) + "example"} {
		u := sip.Uri{Scheme: "sip", User: "u", Host: host}
		if j, err := ToJID(u); err == nil {
			t.Errorf("%s has the JID %s", u.String(), j)
		}
		j, err := jid.New("u", host, "")
		if err != nil {
			continue
		}
		if u, err := ToURI(j); err == nil {
			t.Errorf("%s has the URI %s", j, u.String())
		}
	}
	if u, err := ToURI(jid.JID{}); err == nil {
		t.Errorf("no address has the URI %s", u.String())
	}
}

func TestParseURIRefuses(t *testing.T) {
	for _, row := range [...]struct {
		uri  string
		kind fault.Kind
	}{
		{"", fault.Malformed},
		{"sip", fault.Malformed},
		{"sip:", fault.Malformed},
		{"sip:@h.example", fault.Malformed},
		{"sip:a#b@h.example", fault.Malformed},
		{"sip:a@b@h.example", fault.Malformed},
		{"sip:a%4@h.example", fault.Malformed},
		{"sip:a%zz@h.example", fault.Malformed},
		{"sip:ü@h.example", fault.Malformed},
		{"sip:u[::1]", fault.Malformed},
		{"sip:u@[]::1]", fault.Malformed},
		{"sip:u@[fe80::1%25eth0]", fault.Malformed}, // ADDR-23
		{"sip://u@h.example", fault.Malformed},
		{"sip:a@h.example\r\nX: y", fault.Malformed},
		{"sip:a@" + strings.Repeat("a.", 512) + "example", fault.Malformed}, // ADDR-11
		{"sip:" + strings.Repeat("a", MaxURI) + "@h.example", fault.Malformed},
		{"im:h.example", fault.Malformed},
		{"im:@h.example", fault.Malformed},
		{"im:a?b@h.example", fault.Malformed},
		{"im:a#b@h.example", fault.Malformed},
		{"im:a@h.example;gr=x", fault.Malformed},
		{"im:a@h.example:5060", fault.Malformed},
		{"mailto:a@h.example", fault.Unsupported},
		{"xmpp:a@h.example", fault.Unsupported},
	} {
		if u, err := ParseURI(row.uri); err == nil || fault.KindOf(err) != row.kind {
			t.Errorf("%q is read as %s, %v", row.uri, u.String(), err)
		}
	}
}

// A message as sipgo reads it: the text of im and pres URIs is left to us.
func TestToJIDOfHeaders(t *testing.T) {
	for _, row := range [...]struct{ from, jid string }{
		{"Romeo <im:o'malley@h.example>", `o\27malley@h.example`},
		{"<pres:f%C3%BC@h.example>;tag=1", "fü@h.example"},
		{"<sip:a@h.example;gr=x>;gr=y", "a@h.example/x"},
		{"<sip:a@h.example>;tag=1;GR=y", "a@h.example/y"},
		{"sip:a@h.example;gr=y", "a@h.example/y"},
		{"<im:a@h.example>;gr=y", "a@h.example"},
	} {
		var u sip.Uri
		var params sip.HeaderParams
		if _, err := sip.ParseAddressValue(row.from, &u, &params); err != nil {
			t.Fatal(err)
		}
		before := u.String()
		j, err := ToJID(WithGRUU(u, params))
		if err != nil || j.String() != row.jid || u.String() != before {
			t.Errorf("%s is %v, %v; want %s", row.from, j, err, row.jid)
		}
	}
	for _, text := range []string{"sip://u@h.example", "tel:+14155550100", "http://h.example/", "*"} {
		var u sip.Uri
		if err := sip.ParseUri(text, &u); err != nil {
			t.Fatal(err)
		}
		if j, err := ToJID(u); err == nil {
			t.Errorf("%s is %s", text, j)
		}
	}
}

func TestToURIScheme(t *testing.T) {
	for _, row := range [...]struct{ jid, scheme, uri string }{
		{"a@h.example/x", "sips", "sips:a@h.example;gr=x"},
		{"a@h.example/x", "im", "im:a@h.example"},
		{".a..b...c.@h.example", "im", "im:%2Ea.%2Eb.%2E.c%2E@h.example"},
		{".@h.example", "pres", "pres:%2E@h.example"},
		{"a?b@h.example", "pres", "pres:a%3Fb@h.example"},
		{"h.example", "im", ""},
		{"a@h.example", "tel", ""},
		{"a@h.example", "", ""},
	} {
		u, err := ToURIScheme(jid.MustParse(row.jid), row.scheme)
		if (err != nil) != (row.uri == "") || err == nil && u.String() != row.uri {
			t.Errorf("%s in %q is %s, %v; want %s", row.jid, row.scheme, u.String(), err, row.uri)
		}
	}
}

func TestTelToSIP(t *testing.T) {
	for _, row := range [...]struct{ tel, domain, uri, jid string }{
		{"tel:+1-415-555-0100", "h.example", "sip:+14155550100@h.example;user=phone", "+14155550100@h.example"},
		{"tel:+1-415-555-0100", "", "", ""},
		{"TEL:+358-555-1234567;POSTD=PP22;isub=1411", "h.example", "sip:+3585551234567;isub=1411;postd=pp22@h.example;user=phone", "+3585551234567;isub=1411;postd=pp22@h.example"},
		{"tel:7042;phone-context=h.example", "h.example", "sip:7042;phone-context=h.example@h.example;user=phone", "7042;phone-context=h.example@h.example"},
		{"tel:70-42;b=1;a;phone-context=+1-(914)", "h.example", "sip:7042;phone-context=+1914;a;b=1@h.example;user=phone", "7042;phone-context=+1914;a;b=1@h.example"},
		{"tel:+1;x=%41", "h.example", "sip:+1;x=a@h.example;user=phone", "+1;x=a@h.example"},
		{"tel:+1;x=%40", "h.example", "sip:+1;x=%40@h.example;user=phone", `+1;x=\40@h.example`},
		{"tel:7042", "h.example", "", ""},
		{"tel:+", "h.example", "", ""},
		{"tel:dad;phone-context=h.example", "h.example", "", ""},
		{"tel:+1;=x", "h.example", "", ""},
		{"tel:+1;x=", "h.example", "", ""},
		{"tel:+1;", "h.example", "", ""},
	} {
		u, err := ParseURI(row.tel)
		if err == nil {
			u, err = TelToSIP(u, row.domain)
		}
		if row.uri == "" {
			if err == nil {
				t.Errorf("%s is %s", row.tel, u.String())
			}
			continue
		}
		if err != nil || u.String() != row.uri {
			t.Errorf("%s is %s, %v; want %s", row.tel, u.String(), err, row.uri)
			continue
		}
		if j, err := ToJID(u); err != nil || j.String() != row.jid {
			t.Errorf("%s is %v, %v; want %s", row.tel, j, err, row.jid)
		}
	}
}

func TestGateway(t *testing.T) {
	for _, row := range [...]struct{ uri, jid string }{
		{"sip:romeo@sip.example", `romeo\40sip.example@gw.example.net`},
		{"sip:romeo@sip.example;gr=orchard", `romeo\40sip.example@gw.example.net/orchard`},
		{"sip:o'malley@sip.example", `o\27malley\40sip.example@gw.example.net`},
		{"sip:a%40b@sip.example", `a\40b\40sip.example@gw.example.net`},
		{"sip:c%5C26x@sip.example", `c\5c26x\40sip.example@gw.example.net`},
		{"sip:sip.example", "sip.example@gw.example.net"},
		{"sip:a@xn--mnchen-3ya.example", `a\40xn--mnchen-3ya.example@gw.example.net`},
		{"sip:u@[2001:db8::1]", `u\40[2001\3adb8\3a\3a1]@gw.example.net`},
	} {
		u, err := ParseURI(row.uri)
		if err != nil {
			t.Fatal(err)
		}
		j, err := GatewayJID(u, "gw.example.net")
		if err != nil || j.String() != row.jid {
			t.Errorf("%s is %v, %v; want %s", row.uri, j, err, row.jid)
			continue
		}
		if back, err := GatewayURI(j); err != nil || back.String() != row.uri {
			t.Errorf("%s is %s, %v; want %s", j, back.String(), err, row.uri)
		}
	}
	u, _ := ParseURI("sip:romeo@sip.example")
	if j, err := GatewayJID(u, "gw.."); err == nil {
		t.Errorf("there is a gateway %s", j)
	}
	for _, text := range []string{"gw.example.net", "gw.example.net/x", `romeo\40@gw.example.net`, `\40sip.example@gw.example.net`,
		`romeo\40münchen.example@gw.example.net`, `a\5cb\40sip.example@gw.example.net`, `romeo\40sip.example.@gw.example.net`} {
		if u, err := GatewayURI(jid.MustParse(text)); fault.KindOf(err) != fault.NotFound {
			t.Errorf("%s is %s, %v", text, u.String(), err)
		}
	}
}

func TestXMPPURI(t *testing.T) {
	for _, row := range [...]struct{ iri, jid, uri string }{
		{"xmpp:la-mer@example.com?message", "la-mer@example.com", "xmpp:la-mer@example.com"},
		{"xmpp://guest@example.com/support@example.com/a%2Fb?message#x", "support@example.com/a/b", "xmpp:support@example.com/a%2Fb"},
		{"XMPP:o%5C27malley@example.com", `o\27malley@example.com`, "xmpp:o%5C27malley@example.com"},
		{"xmpp:jiří@čechy.example/v Praze", "", ""},
		{"xmpp:jiří@čechy.example/v%20Praze", "jiří@čechy.example/v Praze", "xmpp:ji%C5%99%C3%AD@%C4%8Dechy.example/v%20Praze"},
		{"xmpp:example.com", "example.com", "xmpp:example.com"},
		{"xmpp:u@[2001:db8::1]", "u@[2001:db8::1]", "xmpp:u@[2001:db8::1]"},
		{"xmpp:", "", ""},
		{"xmpp:@example.com", "", ""},
		{"xmpp:a@example.com/", "", ""},
		{"xmpp:a@b@example.com", "", ""},
		{"xmpp:a%00@example.com", "", ""},
		{"xmpp:a\xff@example.com", "", ""},
		{"xmpp:a%27b@example.com", "", ""},
		{"xmpp:a@b%2Fc.example", "", ""},
		{"xmpp:a@b..", "", ""},
		{"xmpp:a@b%E3%80%82", "", ""}, // an ideographic full stop
		{"xmpp:a@.b", "", ""},
		{"sip:a@example.com", "", ""},
	} {
		j, err := ParseXMPP(row.iri)
		switch {
		case row.jid == "" && fault.KindOf(err) != fault.Malformed:
			t.Errorf("%q is %v, %v", row.iri, j, err)
		case row.jid == "":
		case err != nil || j.String() != row.jid || FormatXMPP(j) != row.uri:
			t.Errorf("%q is %v, %v, written %q", row.iri, j, err, FormatXMPP(j))
		}
	}
}

func TestAnonymous(t *testing.T) {
	for uri, want := range map[string]bool{
		"sip:anonymous@anonymous.invalid":                true,
		"sip:c8oqz84zk7z@Anonymous.Invalid.":             true,
		"sip:x@invalid":                                  true,
		"sip:anonymous@h.example":                        false,
		"sip:x@anonymous.invalid.example":                false,
		"pres:anonymous@anonymous.invalid?x=a@h.example": true,
		"sip:anonymous.invalid@h.example;gr=x.invalid":   false,
	} {
		u, err := ParseURI(uri)
		if err != nil || Anonymous(u) != want {
			t.Errorf("%s: %v, %v", uri, !want, err)
		}
		if err := sip.ParseUri(uri, &u); err != nil || Anonymous(u) != want { // the text of pres is left to us
			t.Errorf("%s as sipgo reads it: %v, %v", uri, !want, err)
		}
	}
}

func TestOfSender(t *testing.T) {
	u, _ := ParseURI("sip:%FF@h.example")
	_, err := ToJID(u)
	if status, _, _ := FaultToSIP(OfSender(err)); status != 400 {
		t.Errorf("a SIP sender without image gets %d", status)
	}
	_, err = ToURI(jid.MustParse(`a\5cb@h.example`))
	if got := FaultToXMPP(err, "h.example"); got.Condition != "item-not-found" {
		t.Errorf("a recipient without image: %s", got.Condition)
	}
	_, err = ToURIScheme(jid.MustParse("a@h.example"), "mailto")
	if fault.KindOf(OfSender(err)) != fault.Unsupported {
		t.Error("another fault changes its kind")
	}
}

// TestInboxOf: ADDR-19. The name is the same, whatever its scheme makes of it.
func TestInboxOf(t *testing.T) {
	for _, row := range [][2]string{
		{"sip:Romeo@h.example;gr=x", "im:Romeo@h.example"},
		{"sip:a,b;c@h.example", "im:a%2Cb%3Bc@h.example"},
		{"sip:.a@h.example", "im:%2Ea@h.example"},
		{"sip:h.example", ""},
	} {
		u, err := ParseURI(row[0])
		if err != nil {
			t.Fatal(err)
		}
		im, ok := InboxOf(u)
		if got := im.String(); ok != (row[1] != "") || ok && got != row[1] {
			t.Errorf("%s is %s, %v; want %s", row[0], got, ok, row[1])
		}
		if !ok {
			continue
		}
		back, err := ParseURI(im.String())
		if err != nil {
			t.Fatal(err)
		}
		j, err := ToJID(u)
		if k, kerr := ToJID(back); err != nil || kerr != nil || !k.Equal(j.Bare()) {
			t.Errorf("%s is %s, %v, and %s is %s, %v", row[0], j, err, row[1], k, kerr)
		}
	}
}
