package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// howTo says how one's own clients take part. The programs are those that the
// tests use.
const howTo = `
The domains stay up until Ctrl-C. They believe everybody: any user, any password.

A SIP client of yours, over UDP or TCP:
    address    sip:romeo@montague.example      server (outbound proxy)   SIPADDR
An XMPP client of yours, with STARTTLS or without:
    address    juliet@capulet.example          server                    XMPPADDR
    The certificate is by the authority in CAFILE

With programs of Debian, each line in a terminal of its own; the last two are Juliet's ear and mouth:
    baresip -4 -f DIR/romeo
    SSL_CERT_FILE=CAFILE go-sendxmpp -l -u juliet@capulet.example -p any -j XMPPADDR
    SSL_CERT_FILE=CAFILE go-sendxmpp -i -u juliet@capulet.example -p any -j XMPPADDR romeo@montague.example
For Romeo type   /message Art thou there?   and for Juliet a line of text.

Who is not logged in is played by us: Romeo and Juliet take what they are sent.
`

// baresip are the files of a baresip that is Romeo: text only, no sound. By
// itself it would look for an interface other than loopback, which a machine
// without a network does not have.
var baresip = map[string]string{
	"config": `net_interface SIPHOST
module_path /usr/lib/baresip/modules
module stdio.so
module_app account.so
module_app contact.so
module_app menu.so
`,
	"accounts": `<sip:romeo@montague.example>;regint=600;outbound="sip:SIPADDR;transport=udp"
`,
	"contacts": `"Juliet" <sip:juliet@capulet.example>
`,
}

// stay shows what crosses until ctx is done.
func (s *show) stay(ctx context.Context) error {
	dir := filepath.Dir(s.CAFile)
	host, _, err := net.SplitHostPort(s.SIP.Clients)
	if err != nil {
		return err
	}
	fill := strings.NewReplacer("SIPADDR", s.SIP.Clients, "SIPHOST", host, "XMPPADDR", s.XMPP.Clients, "CAFILE", s.CAFile, "DIR", dir)
	if err := os.Mkdir(filepath.Join(dir, "romeo"), 0o700); err != nil {
		return err
	}
	for name, text := range baresip {
		if err := os.WriteFile(filepath.Join(dir, "romeo", name), []byte(fill.Replace(text)), 0o600); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprint(s.out, fill.Replace(howTo)+"\n") // as all output
	s.head(sipDomain, "cpimgate", xmppDomain)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.change:
			s.print(s.take())
		case <-s.SIP.Requests: // what the people who are played receive
		case <-s.XMPP.Stanzas:
		}
	}
}
