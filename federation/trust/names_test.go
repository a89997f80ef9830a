package trust

import (
	"encoding/asn1"
	"reflect"
	"testing"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// general returns a GeneralName with a tag and content.
func general(tag int, compound bool, content []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: content}
}

// der marshals what cannot fail.
func der(t testing.TB, v any) []byte {
	t.Helper()
	b, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// explicit returns a value under the tag 0.
func explicit(t testing.TB, v asn1.RawValue) []byte {
	return der(t, general(0, true, der(t, v)))
}

// TestParseSAN: GeneralNames (RFC 5280, section 4.2.1.6) with the otherNames of
// RFC 4985 and RFC 6120, well-formed and not.
func TestParseSAN(t *testing.T) {
	str := func(tag int, s string) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassUniversal, Tag: tag, Bytes: []byte(s)}
	}
	other := func(id asn1.ObjectIdentifier, value []byte) asn1.RawValue {
		return general(tagOther, true, append(der(t, id), value...))
	}
	seq := func(list ...asn1.RawValue) []byte { return der(t, list) }
	many := make([]asn1.RawValue, maxNames+1)
	for i := range many {
		many[i] = general(tagDNS, false, []byte("a.example"))
	}
	ia5, utf8 := asn1.TagIA5String, asn1.TagUTF8String
	tests := []struct {
		name string
		der  []byte
		want names
		kind fault.Kind // if want is empty
	}{
		{"dns", seq(general(tagDNS, false, []byte("a.example"))), names{dns: []string{"a.example"}}, 0},
		{"uri", seq(general(tagURI, false, []byte("sip:a.example"))), names{uri: []string{"sip:a.example"}}, 0},
		{"srv", seq(other(oidSRVName, explicit(t, str(ia5, "_xmpp-server.a.example")))), names{srv: []string{"_xmpp-server.a.example"}}, 0},
		{"xmpp", seq(other(oidXMPPAddr, explicit(t, str(utf8, "ü.example")))), names{xmpp: []string{"ü.example"}}, 0},
		{"passed-over", seq(general(1, false, []byte("a@b")), general(7, false, []byte{127, 0, 0, 1}), general(tagDNS, false, []byte("b.example")),
			other(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}, explicit(t, str(utf8, "u@b")))), names{dns: []string{"b.example"}}, 0},
		{"no-sequence", der(t, "text"), names{}, fault.Malformed},
		{"empty-bytes", nil, names{}, fault.Malformed},
		{"trailing", append(seq(), 0), names{}, fault.Malformed},
		{"cut", seq(general(tagDNS, false, []byte("a.example")))[:8], names{}, fault.Malformed},
		{"no-name-inside", der(t, []string{"text"}), names{}, fault.Malformed},
		{"other-without-id", seq(general(tagOther, true, []byte{1})), names{}, fault.Malformed},
		{"other-without-value", seq(other(oidXMPPAddr, nil)), names{}, fault.Malformed},
		{"other-untagged", seq(other(oidXMPPAddr, der(t, str(utf8, "a.example")))), names{}, fault.Malformed},
		{"other-tag-1", seq(other(oidXMPPAddr, der(t, general(1, true, der(t, str(utf8, "a.example")))))), names{}, fault.Malformed},
		{"other-type", seq(other(oidXMPPAddr, explicit(t, str(ia5, "a.example")))), names{}, fault.Malformed},
		{"other-twice", seq(other(oidSRVName, append(explicit(t, str(ia5, "a")), explicit(t, str(ia5, "b"))...))), names{}, fault.Malformed},
		{"too-many", seq(many...), names{}, fault.TooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseSAN(tt.der)
			if tt.kind != 0 {
				if fault.KindOf(err) != tt.kind {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// FuzzSAN: whatever a certificate holds, the domains that come out are in the
// spelling in which we compare, and what we read we write and read again.
func FuzzSAN(f *testing.F) {
	for _, list := range [][]asn1.RawValue{
		{general(tagDNS, false, []byte("*.a.example")), general(tagURI, false, []byte("sip:b.example;x@y"))},
		{general(tagOther, true, append(der(f, oidXMPPAddr), explicit(f, asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte("ü.example")})...))},
		{general(tagOther, true, append(der(f, oidSRVName), explicit(f, asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte("_xmpp-server.c.example")})...))},
		{general(7, false, []byte{1, 2, 3, 4})},
	} {
		f.Add(der(f, list))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseSAN(b)
		if err != nil {
			return
		}
		for _, w := range []federation.Wire{federation.SIP, federation.XMPP} {
			for _, d := range n.domains(w) {
				if again, err := federation.Domain(d); err != nil || again != d {
					t.Errorf("%s: %q is no spelling of a domain: %q, %v", w, d, again, err)
				}
			}
		}
		var list []asn1.RawValue
		for _, d := range n.dns {
			list = append(list, general(tagDNS, false, []byte(d)))
		}
		for _, u := range n.uri {
			list = append(list, general(tagURI, false, []byte(u)))
		}
		for _, s := range n.srv {
			list = append(list, general(tagOther, true, append(der(t, oidSRVName), explicit(t, asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte(s)})...)))
		}
		for _, x := range n.xmpp {
			list = append(list, general(tagOther, true, append(der(t, oidXMPPAddr), explicit(t, asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(x)})...)))
		}
		if again, err := parseSAN(der(t, list)); err != nil || !reflect.DeepEqual(again, n) {
			t.Errorf("%+v came back as %+v, %v", n, again, err)
		}
	})
}
