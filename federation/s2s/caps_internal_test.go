package s2s

import (
	"testing"

	"cpimgate/cpim/xmltree"
)

// The examples of XEP-0115, sections 5.2 and 5.3, in another order.
func TestVerification(t *testing.T) {
	const simple = "<identity category='client' type='pc' name='Exodus 0.9.1'/><feature var='http://jabber.org/protocol/muc'/>" +
		"<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/caps'/>"
	const complex = "<identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/><identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>" +
		"<feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>" +
		"<feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>" +
		"<x xmlns='jabber:x:data' type='result'><field var='os_version'><value>10.5.1</value></field>" +
		"<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>" +
		"<field var='ip_version'><value>ipv6</value><value>ipv4</value></field><field var='os'><value>Mac</value></field>" +
		"<field var='software_version'><value>0.11</value></field><field var='software'><value>Psi</value></field></x>"
	for text, want := range map[string]string{simple: "QgayPKawpkPSDYmwT/WM94uAlu0=", complex: "q07IKJEyjvHSyhy//CH0CxmKi8w="} {
		e, err := xmltree.ParseIn([]byte("<query>"+text+"</query>"), nsInfo, xmltree.Documents)
		if err != nil {
			t.Fatal(err)
		}
		if got := verification(e); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
