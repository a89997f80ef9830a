package peers

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// A KamailioConfig says what kind of SIP domain to run.
type KamailioConfig struct {
	Domain string
	Host   int // last number of its address

	// Border is the host name of the one border element from which the server
	// takes requests of foreign domains: over TLS, by its certificate. If it is
	// "", the server believes what it is told, as most servers do.
	Border string

	// Authority signs its certificate; nil is the net's.
	Authority *CA

	Memory  int    // shared memory in MB; 0 is 64
	Workers int    // processes for each transport; 0 is 2
	NextHop string // SIP URI for all requests to other domains; "" asks the zone
}

// A Kamailio is a running SIP server: registrar and proxy of one domain.
type Kamailio struct {
	*Process

	KamailioConfig
	Addr netip.Addr

	net *Net
	dir string
}

// kamailioConfig is the server's file. It asks the zone for other domains
// (NAPTR in the order that the zone gives), keeps no answer for long and
// blocks no destination, so that a peer that comes back is found at once; it
// waits longer for an answer than the gateway lets it (decision D-70). It sends
// on what anybody brings for other domains: to refuse that is our task. A
// user is reached over the connection that registered (a TLS client listens
// for nobody); a new registration replaces the old one.
const kamailioConfig = `#!KAMAILIO
debug=2
log_stderror=yes
fork=yes
children=%[2]d
tcp_children=%[2]d
tcp_source_ipv4=%[1]s
tcp_connection_lifetime=600
tcp_connect_timeout=3
enable_tls=yes
listen=udp:%[1]s:5060
listen=tcp:%[1]s:5060
listen=tls:%[1]s:5061
auto_aliases=no
alias="%[3]s"
dns_try_naptr=yes
dns_naptr_ignore_rfc=no
dns_srv_lb=no
dns_cache_negative_ttl=0
dns_use_search_list=no
use_dst_blocklist=off
loadmodule "kex.so"
loadmodule "corex.so"
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "nathelper.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "xlog.so"
loadmodule "tls.so"
modparam("tls", "config", "%[4]s/tls.cfg")
modparam("usrloc", "db_mode", 0)
modparam("nathelper|registrar", "received_avp", "$avp(received)")
modparam("tm", "fr_timer", 31000)

request_route {
	if (!mf_process_maxfwd_header("10")) {
		sl_send_reply("483", "Too Many Hops");
		exit;
	}
	if (is_method("OPTIONS") && uri==myself) {
		sl_send_reply("200", "OK");
		exit;
	}
	if (is_method("REGISTER")) {
		fix_nated_register();
		save("location", "0x04");
		exit;
	}
	remove_hf("Route");
	if (uri==myself) {
		if (%[5]t && !(from_uri==myself) && !(is_peer_verified() && $tls_peer_subject_cn=="%[7]s")) {
			xlog("L_WARN", "refused: $proto $si does not speak for $fd\n");
			sl_send_reply("403", "Prove your domain");
			exit;
		}
		if (!lookup("location")) {
			sl_send_reply("404", "Not Found");
			exit;
		}
	} else {
		xlog("L_DBG", "elsewhere: $fu to $ru\n");
		%[6]s
	}
	t_on_failure("FAILED");
	t_relay();
}

failure_route[FAILED] {
	xlog("L_WARN", "no delivery to $ru: $T_reply_code $T_reply_reason\n");
}
`

// kamailioTLS shows and asks for certificates in both roles; clients of the
// domain may have none.
const kamailioTLS = `[server:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = no
certificate = %[1]s
private_key = %[2]s
ca_list = %[3]s
[client:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = yes
certificate = %[1]s
private_key = %[2]s
ca_list = %[3]s
`

// StartKamailio runs a SIP server at ports 5060 (UDP, TCP) and 5061 (TLS) and
// returns when it answers on all three.
func (n *Net) StartKamailio(c KamailioConfig) *Kamailio {
	n.t.Helper()
	c.Memory, c.Workers = max(c.Memory, 64), max(c.Workers, 2)
	k := &Kamailio{KamailioConfig: c, Addr: n.Addr(c.Host), net: n, dir: n.Dir + "/kamailio-" + c.Domain}
	k.configure()
	k.Start()
	return k
}

// Certify gives the server, when it starts next, a certificate by another
// authority.
func (k *Kamailio) Certify(by *CA) {
	k.Authority = by
	k.configure()
}

func (k *Kamailio) configure() {
	if err := os.MkdirAll(k.dir, 0o755); err != nil {
		k.net.t.Fatal(err)
	}
	cert, key := cmp.Or(k.Authority, k.net.CA).Issue(k.Domain)
	elsewhere := ""
	if k.NextHop != "" {
		elsewhere = fmt.Sprintf("$du = %q;", k.net.Text(k.NextHop))
	}
	rel := "kamailio-" + k.Domain
	k.net.write(rel+"/tls.cfg", fmt.Sprintf(kamailioTLS, cert, key, k.net.CA.File))
	k.net.write(rel+"/kamailio.cfg", fmt.Sprintf(kamailioConfig, k.Addr, k.Workers, k.Domain, k.dir, k.Border != "", elsewhere, k.Border))
}

// Start runs the server again after Stop or Kill. Its users must register
// again: it remembers nothing.
func (k *Kamailio) Start() {
	k.net.t.Helper()
	k.Process = k.net.start("kamailio "+k.Domain, k.net.command("kamailio",
		"-DD", "-E", "-f", k.dir+"/kamailio.cfg", "-m", fmt.Sprint(k.Memory), "-Y", k.dir, "-w", k.dir))
	k.until("answer to OPTIONS", func() error { return ping(netip.AddrPortFrom(k.Addr, 5060), k.Domain) })
	for _, port := range []uint16{5060, 5061} {
		k.until(fmt.Sprintf("TCP port %d", port), func() error { return dial(netip.AddrPortFrom(k.Addr, port)) })
	}
}

// ping asks a SIP server over UDP whether it is there, and waits a moment for
// any answer.
func ping(at netip.AddrPort, domain string) error {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	defer c.Close()
	req := fmt.Sprintf("OPTIONS sip:%[1]s SIP/2.0\nVia: SIP/2.0/UDP %[2]s;branch=z9hG4bK-ping;rport\nFrom: <sip:ping@%[1]s>;tag=ping\n"+
		"To: <sip:%[1]s>\nCall-ID: ping@%[2]s\nCSeq: 1 OPTIONS\nMax-Forwards: 5\nContent-Length: 0\n\n", domain, c.LocalAddr())
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte(strings.ReplaceAll(req, "\n", "\r\n"))); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 2000))
	return err
}
