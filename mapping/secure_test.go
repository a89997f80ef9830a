package mapping

import (
	"bytes"
	"strings"
	"testing"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
)

const signed = `multipart/signed; boundary=next; micalg=sha-256; protocol="application/pkcs7-signature"`

// TestSecuredBothWays: an object arrives byte for byte, whatever it holds, and
// has no clear text beside it (RFC 3923, section 8).
func TestSecuredBothWays(t *testing.T) {
	rows := []struct {
		name, typ, body string
		plain           bool // stands in XML as it is
	}{
		{"signed", signed, "--next\r\nContent-Type: text/plain\r\n\r\nHi\r\n--next\r\n\r\nsig\r\n--next--", true},
		{"ends with a line end", signed, "--next\r\n\r\nHi\r\n--next--\r\n", true},
		{"ends with two", signed, "--next--\r\n\r\n", true},
		{"starts with white space", signed, "\r\n \t--next\r\n\r\nHi", true},
		{"ends of CDATA sections", signed, "--next\r\n\r\n]]>]]]]><![CDATA[>\r\n--next--", true},
		{"markup", signed, "<&>&amp;\"'", true},
		{"bare LF", signed, "--next\n\nHi\r\n--next--", false},
		{"bare CR", signed, "--next\r\rHi", false},
		{"control", signed, "a\x00b", false},
		{"U+FFFE", signed, "a\uFFFEb", false},
		{"binary", "application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", "\x30\x82\x01\xff\r\n\x00", false},
		{"old name", "application/x-pkcs7-mime", "\x80", false},
		{"long", "application/pkcs7-mime", strings.Repeat("\xff", 1000), false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			in, err := fromRomeo(t, row.typ, row.body, "Content-Disposition: attachment;handling=required;filename=smime.p7m")
			if err != nil {
				t.Fatal(err)
			}
			m := in.Stanza
			if len(m.Bodies) != 0 || m.HTML != nil || strings.Contains(m.E2E, "base64") == row.plain {
				t.Errorf("means %+v", m)
			}
			m = overXML(t, m)
			req, err := toSIP(t, m, SIPOptions{})
			if err != nil {
				t.Fatalf("%v in %q", err, m.E2E)
			}
			checkShape(t, req)
			if !bytes.Equal(req.Body(), []byte(row.body)) || sipx.Value(req, "Content-Type") != row.typ ||
				sipx.Value(req, "Content-Disposition") != "attachment;handling=required;filename=smime.p7m" {
				t.Errorf("came back as\n%q", req)
			}
		})
	}
}

// overXML sends a stanza over a stream whose sender writes CDATA sections.
func overXML(t testing.TB, m *xep.Message) *xep.Message {
	t.Helper()
	written := string(m.Element().Append(nil, xep.NS))
	i, j := strings.Index(written, "xmpp-e2e'>"), strings.Index(written, "</e2e>")
	if i < 0 || j < 0 {
		t.Fatalf("no e2e in %s", written)
	}
	i += len("xmpp-e2e'>")
	section := strings.ReplaceAll(m.E2E, "]]>", "]]]]><![CDATA[>")
	for _, s := range []string{written, written[:i] + "<![CDATA[" + section + "]]>" + written[j:]} {
		e, err := xmltree.ParseIn([]byte(s), xep.NS, xmltree.Documents)
		if err != nil {
			t.Fatal(err)
		}
		back, err := xep.ParseMessage(e)
		if err != nil || back.E2E != m.E2E {
			t.Fatalf("read %q, %v", back.E2E, err)
		}
		m = back
	}
	return m
}

// TestSecuredRefused: what stands in e2e and is no S/MIME object.
func TestSecuredRefused(t *testing.T) {
	rows := []struct {
		e2e  string
		want fault.Kind
	}{
		{"just text", fault.Malformed},
		{"Content-Type: text/plain\n\nHi", fault.Unsupported},
		{"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\n!!!", fault.Malformed},
		{"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: x-uu\n\nx", fault.Unsupported},
		{"Content-Type: application/pkcs7-mime\nContent-Disposition: \u00e9\n\nx", fault.Malformed},
	}
	for _, row := range rows {
		_, err := toSIP(t, &xep.Message{From: stanza(t, "").From, To: stanza(t, "").To, E2E: row.e2e}, SIPOptions{})
		if fault.KindOf(err) != row.want || err == nil {
			t.Errorf("%q: %v", row.e2e, err)
		}
	}
}

// TestSecuredOld: the time inside is the recipient's to judge (RFC 3923, section
// 6.9); clear text beside an object does not go with it.
func TestSecuredOld(t *testing.T) {
	m := stanza(t, `<body>clear</body><e2e xmlns='urn:ietf:params:xml:ns:xmpp-e2e'>Content-Type: `+signed+"\n\n--next\nContent-Type: message/cpim\n\nDateTime: 2001-01-01T00:00:00Z\n</e2e>")
	req, err := toSIP(t, m, SIPOptions{Accept: Accept{CPIM: true}, MessageID: "x"})
	if err != nil || strings.Contains(req.String(), "clear") || !strings.Contains(req.String(), "2001-01-01") {
		t.Errorf("%v, %v", req, err)
	}
}
