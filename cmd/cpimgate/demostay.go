package main

import (
	"context"
	"fmt"
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

With programs of Debian, each line in a terminal of its own:
    mkdir -p /tmp/romeo && printf 'module_path /usr/lib/baresip/modules\nmodule stdio.so\nmodule_app account.so\nmodule_app contact.so\nmodule_app menu.so\n' > /tmp/romeo/config && echo '<sip:romeo@montague.example>;regint=600;outbound="sip:SIPADDR;transport=udp"' > /tmp/romeo/accounts && echo '"Juliet" <sip:juliet@capulet.example>' > /tmp/romeo/contacts && baresip -4 -f /tmp/romeo
    SSL_CERT_FILE=CAFILE go-sendxmpp -i -u juliet@capulet.example -p any -j XMPPADDR romeo@montague.example
In the first, type   /message Art thou there?   and in the second a line of text. The second only
writes; the same line with -l in the place of -i and the address at its end only listens.

Who is not logged in is played by us: Romeo and Juliet take what they are sent.
`

// stay shows what crosses until ctx is done.
func (s *show) stay(ctx context.Context) {
	fill := strings.NewReplacer("SIPADDR", s.SIP.Clients, "XMPPADDR", s.XMPP.Clients, "CAFILE", s.CAFile)
	_, _ = fmt.Fprint(s.out, fill.Replace(howTo)+"\n") // as all output
	s.head(sipDomain, "cpimgate", xmppDomain)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.change:
			s.print(s.take())
		case <-s.SIP.Requests: // what the people who are played receive
		case <-s.XMPP.Stanzas:
		}
	}
}
