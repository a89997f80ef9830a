package peers

import (
	"fmt"
	"strings"
)

// A Transport is one way of SIP, with what the DNS calls it (RFC 3263, section
// 4.1; RFC 3958).
type Transport struct {
	Name    string // as in a URI
	Service string // of NAPTR
	Labels  string // of SRV
	Port    int
}

// Transports are those that we speak.
var Transports = []Transport{
	{"udp", "SIP+D2U", "_sip._udp", 5060},
	{"tcp", "SIP+D2T", "_sip._tcp", 5060},
	{"tls", "SIPS+D2T", "_sips._tcp", 5061},
}

// TransportOf returns the transport of that name, or one without ports.
func TransportOf(name string) Transport {
	for _, t := range Transports {
		if t.Name == name {
			return t
		}
	}
	return Transport{Name: name}
}

// SIPRecords say that the SIP server of a domain is at the net's address that
// ends in host, and how it is reached: by this transport, and no other.
func SIPRecords(domain, transport string, host int) string {
	t := TransportOf(transport)
	return fmt.Sprintf("%[1]s. NAPTR 10 10 \"s\" \"%[2]s\" \"\" %[3]s.%[1]s.\n%[3]s.%[1]s. SRV 0 0 %[4]d sip-server.%[1]s.\nsip-server.%[1]s. A NET.%[5]d\n",
		domain, t.Service, t.Labels, t.Port, host)
}

// XMPPRecords say where servers find the XMPP server of a domain; direct adds
// the records for direct TLS (XEP-0368).
func XMPPRecords(domain string, host int, direct bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "_xmpp-server._tcp.%[1]s. SRV 0 0 5269 xmpp-server.%[1]s.\nxmpp-server.%[1]s. A NET.%[2]d\n", domain, host)
	if direct {
		fmt.Fprintf(&b, "_xmpps-server._tcp.%[1]s. SRV 0 0 5270 xmpp-server.%[1]s.\n", domain)
	}
	return b.String()
}

// DirectRecords say that servers find the XMPP server of a domain by direct TLS
// (XEP-0368), and not otherwise.
func DirectRecords(domain string, host int) string {
	return fmt.Sprintf("_xmpps-server._tcp.%[1]s. SRV 0 0 5270 xmpp-server.%[1]s.\nxmpp-server.%[1]s. A NET.%[2]d\n", domain, host)
}

// ClientRecords say where clients find the XMPP server that [XMPPRecords]
// named. go-sendxmpp wants both.
func ClientRecords(domain string) string {
	return fmt.Sprintf("_xmpp-client._tcp.%[1]s. SRV 0 0 5222 xmpp-server.%[1]s.\n_xmpps-client._tcp.%[1]s. SRV 0 0 5223 xmpp-server.%[1]s.\n", domain)
}
