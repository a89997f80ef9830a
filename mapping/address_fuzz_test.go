package mapping

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"golang.org/x/text/cases"
	und "golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"
	"mellium.im/xmpp/jid"
	"pgregory.net/rapid"

	"cpimgate/testdata"
)

// addrNasty is what names are made of in the tests: what one of the grammars,
// or folding, treats as special.
var addrNasty = []string{
	`\`, "20", "22", "26", "27", "2f", "2F", "3a", "3c", "3e", "40", "5c", "5C", "2", "0", "c", "%", "%5C", "%32",
	" ", `"`, "&", "'", "/", ":", "<", ">", "@", "#", "?", ";", "=", ".", "..", "//", "+", "-", "[", "]", "^", "`", "{", "|", "}", "(", ",", "!",
	"a", "Z", "ü", "Ü", "u\u0308", "ß", "ς", "İ", "ı", "K", "Å", "ﬁ", "ا", "א", "٣", "۳", "ー", "ｶﾞ", "\u00ad", "\u200d", "\u0327", "\u0338", "\u0301",
	"＼", "２", "０", "＠", "＇", "＜", "ｃ", "Ａ", "\u3000", "\u00a0", "\x00", "\x7f", "\u2028", "😀", "\xff", "\ufffd",
}

// addrFold is what PRECIS makes of a user name where it leaves all characters:
// width, case, normal form (RFC 8265, section 3.3.3).
func addrFold(s string) string {
	return norm.NFC.String(cases.Lower(und.Und, cases.HandleFinalSigma(false)).String(width.Fold.String(s)))
}

// addrCheck holds one URI against everything that addresses promise. That the
// JID leads back to the same user, but for folding, is what makes it impossible
// for two users to share one.
func addrCheck(t interface {
	Fatalf(string, ...any)
	Helper()
}, u sip.Uri) {
	t.Helper()
	j, err := ToJID(u)
	if err != nil {
		return
	}
	if back, err := jid.Parse(j.String()); err != nil || !back.Equal(j) {
		t.Fatalf("%s is no JID: %v", j, err)
	}
	if strings.ContainsAny(j.Localpart(), "\"&'/:<>@ ") {
		t.Fatalf("%s: a character that RFC 7622, section 3.3.1, excludes", j)
	}
	addrRoundTrip(t, j)
	image, _ := ToURI(j)
	user, _ := unpercent(u.User, inboxInput+"?")
	back, _ := unpercent(image.User, userMarks)
	if kind, _ := param(u.UriParams, "user"); strings.EqualFold(kind, "phone") {
		user = plainNumber(user)
	}
	if addrFold(user) != norm.NFC.String(back) {
		t.Fatalf("%s and %s are both %s", u.String(), image.String(), j)
	}
	addrCheckGateway(t, u)
}

func addrCheckGateway(t interface{ Fatalf(string, ...any) }, u sip.Uri) {
	j, err := GatewayJID(u, "gw.example.net")
	if err != nil {
		return
	}
	native, _ := ToJID(u)
	back, err := GatewayURI(j)
	if err != nil {
		t.Fatalf("%s leads nowhere: %v", j, err)
	}
	if again, err := ToJID(back); err != nil || !again.Equal(native) {
		t.Fatalf("%s is %s by its gateway name, and %v, %v by its own", u.String(), again, native, err)
	}
}

// ADDR-06 for names that are hard on purpose.
func TestBijection(t *testing.T) {
	t.Run("ToJID", rapid.MakeCheck(func(t *rapid.T) {
		user := strings.Join(rapid.SliceOfN(rapid.SampledFrom(addrNasty), 1, 8).Draw(t, "user"), "")
		gr := strings.Join(rapid.SliceOfN(rapid.SampledFrom(addrNasty), 0, 4).Draw(t, "gr"), "")
		u := sip.Uri{Scheme: rapid.SampledFrom([]string{"sip", "sips", "im", "pres"}).Draw(t, "scheme"), User: percent(user, ""), Host: "h.example"}
		u.UriParams.Add("gr", percent(gr, ""))
		if rapid.Bool().Draw(t, "phone") {
			u.UriParams.Add("user", "phone")
		}
		addrCheck(t, u)
	}))
	t.Run("ToURI", rapid.MakeCheck(func(t *rapid.T) {
		local := strings.Join(rapid.SliceOfN(rapid.SampledFrom(addrNasty), 0, 8).Draw(t, "local"), "")
		resource := strings.Join(rapid.SliceOfN(rapid.SampledFrom(addrNasty), 0, 4).Draw(t, "resource"), "")
		domain := rapid.SampledFrom([]string{"h.example", "münchen.example", "faß.example", "[2001:db8::1]", "192.0.2.1"}).Draw(t, "domain")
		j, err := jid.New(local, domain, resource)
		if err != nil {
			t.Skip("no JID")
		}
		addrCheckJID(t, j)
	}))
}

// addrCheckJID checks that a JID has a URI exactly if it is canonical, and that
// the URI leads back.
func addrCheckJID(t interface{ Fatalf(string, ...any) }, j jid.JID) {
	_, noHost := domainToSIP(j.Domainpart())
	back, err := ParseXMPP(FormatXMPP(j))
	if again, bad := jid.Parse(j.String()); bad == nil && again.Equal(j) && noHost == nil && (err != nil || !back.Equal(j)) {
		t.Fatalf("%s is read as %v, %v", FormatXMPP(j), back, err)
	}
	u, err := ToURI(j)
	local := j.Localpart()
	canonical := escapeLocal(unescapeLocal(local)) == local && !strings.HasPrefix(local, `\20`) && !strings.HasSuffix(local, `\20`)
	if err == nil && !canonical {
		t.Fatalf("%s, which is nobody's image, has the URI %s", j, u.String())
	}
	if err != nil && canonical && j.Domainpart() == "h.example" {
		t.Fatalf("%s has no URI: %v", j, err)
	}
	if err == nil {
		addrRoundTrip(t, j)
	}
	if u, err := ToURIScheme(j, "im"); err == nil {
		strict, err := ParseURI(u.String())
		if err != nil {
			t.Fatalf("%s is no im URI: %v", u.String(), err)
		}
		if back, err := ToJID(strict); err != nil || !back.Equal(j.Bare()) {
			t.Fatalf("%s is %v, %v, not %s", u.String(), back, err, j)
		}
	}
}

func FuzzToJID(f *testing.F) {
	for _, seed := range testdata.Seeds("uri") {
		f.Add(strings.TrimSpace(seed))
	}
	for _, nasty := range addrNasty {
		f.Add("sip:a" + percent(nasty, "") + "20b@h.example;gr=" + percent(nasty, ""))
		f.Add("pres:" + percent(nasty, "") + "@h.example")
	}
	for _, host := range []string{"..", "h.example.", "[::1]", "[::ffff:192.0.2.1]", "1.2.3", "xn--mnchen-3ya.example", "XN--A.example", "a_b.example"} {
		f.Add("sip:u@" + host + ":5060;user=phone")
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseURI(text)
		if err == nil {
			again, err := ParseURI(u.String())
			if err != nil || again.String() != u.String() {
				t.Fatalf("%q is printed %q, and that %q, %v", text, u.String(), again.String(), err)
			}
			addrCheck(t, u)
		}
		// What sipgo reads, we may have to answer.
		var loose sip.Uri
		if sip.ParseUri(text, &loose) == nil && loose.Raw() == "" {
			addrCheck(t, loose)
		}
	})
}

// FuzzUser is FuzzToJID for users before they are percent-encoded, where a
// change in the input is one in the name.
func FuzzUser(f *testing.F) {
	for _, a := range addrNasty {
		f.Add("x"+a+"y", a)
		f.Add(`\`+a+"0", "c"+a)
	}
	f.Fuzz(func(t *testing.T, user, gr string) {
		u := sip.Uri{Scheme: "sip", User: percent(user, ""), Host: "h.example"}
		u.UriParams.Add("gr", percent(gr, ""))
		addrCheck(t, u)
	})
}

func FuzzToURI(f *testing.F) {
	for _, seed := range testdata.Seeds("jid") {
		f.Add(strings.TrimSpace(seed))
	}
	for _, nasty := range addrNasty {
		f.Add("a" + nasty + "20b@h.example/" + nasty)
		f.Add(nasty + "@" + nasty + ".example")
	}
	f.Fuzz(func(t *testing.T, text string) {
		j, err := jid.Parse(text)
		if err != nil {
			return
		}
		addrCheckJID(t, j)
		if u, err := ToURI(j); err == nil && j.Localpart() != "" {
			im, ok := InboxOf(u)
			parsed, err := ParseURI(im.String())
			if back, jerr := ToJID(parsed); !ok || err != nil || jerr != nil || !back.Equal(j.Bare()) {
				t.Fatalf("%s is %s, %v, and that %v, %v, %v", j, im.String(), ok, back, err, jerr)
			}
		}
		if u, err := GatewayURI(j); err == nil {
			if back, err := GatewayJID(u, j.Domainpart()); err != nil || !back.Equal(j) {
				t.Fatalf("%s is %s, and that %v, %v", j, u.String(), back, err)
			}
		}
	})
}

func FuzzParseXMPP(f *testing.F) {
	for _, seed := range testdata.Seeds("jid") {
		f.Add("xmpp:" + strings.TrimSpace(seed))
	}
	f.Add("xmpp://guest@example.com/support@example.com/a%2Fb?message#x")
	f.Add("XMPP:o%5C27malley@čechy.example/v%20Praze")
	f.Fuzz(func(t *testing.T, iri string) {
		j, err := ParseXMPP(iri)
		if err != nil {
			return
		}
		if back, err := ParseXMPP(FormatXMPP(j)); err != nil || !back.Equal(j) {
			t.Fatalf("%s is written %s, and that is %v, %v", j, FormatXMPP(j), back, err)
		}
	})
}

// What a tel URI becomes is one SIP URI, the same if done again.
func FuzzTelToSIP(f *testing.F) {
	for _, seed := range []string{"tel:+1-415-555-0100", "tel:7042;phone-context=h.example", "TEL:+358-5;POSTD=PP22;isub=1411", "tel:*70#;phone-context=+1-(914);a;b=%40;ext=5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tel, err := ParseURI(text)
		if err != nil || tel.Scheme != "tel" {
			return
		}
		u, err := TelToSIP(tel, "h.example")
		if err != nil {
			return
		}
		strict, err := ParseURI(u.String())
		if err != nil || strict.String() != u.String() {
			t.Fatalf("%s becomes %s, read as %s, %v", text, u.String(), strict.String(), err)
		}
		user, err := userOf(u)
		if err != nil || plainNumber(user) != user {
			t.Fatalf("%s becomes %s, %v", text, u.String(), err)
		}
		again, err := ParseURI("tel:" + percent(user, paramMarks+";="))
		if err != nil {
			return
		}
		if same, err := TelToSIP(again, "h.example"); err == nil && same.String() != u.String() {
			t.Fatalf("%s becomes %s, and that %s", text, u.String(), same.String())
		}
		addrCheck(t, u)
	})
}
