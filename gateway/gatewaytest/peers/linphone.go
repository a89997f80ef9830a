package peers

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// A LinphoneConfig says who uses the client and how it reaches its server.
type LinphoneConfig struct {
	User      string // "benvolio@sip.example"
	Host      int    // last number of the client's address
	Server    netip.Addr
	Transport string // "udp" or "tcp": over TLS it waits for ever when asked for a certificate
}

// A Linphone is a SIP client that has registered: linphone's console client,
// whose log holds every SIP message.
type Linphone struct {
	*Process

	in io.Writer
}

// linphoneConfig is the client's file. It waits for no network but loopback.
const linphoneConfig = `[sip]
bind_address=%[1]s
sip_port=%[2]d
sip_tcp_port=%[3]d
sip_tls_port=-1
register_only_when_network_is_up=0
guess_hostname=0
contact=sip:%[4]s
[proxy_0]
reg_identity=sip:%[4]s
reg_proxy=<sip:%[5]s:%[6]d;transport=%[7]s>
reg_route=<sip:%[5]s:%[6]d;transport=%[7]s;lr>
reg_sendregister=1
reg_expires=600
[misc]
prefer_basic_chat_room=1
`

// StartLinphone runs a client and returns when the server has its registration.
func (n *Net) StartLinphone(c LinphoneConfig) *Linphone {
	n.t.Helper()
	tr := TransportOf(c.Transport)
	ports := map[string]int{"udp": -1, "tcp": -1}
	ports[c.Transport] = tr.Port
	dir := "linphone-" + c.User
	if err := os.MkdirAll(filepath.Join(n.Dir, dir, ".local/share/linphone"), 0o755); err != nil {
		n.t.Fatal(err)
	}
	file := n.write(dir+"/linphonerc", fmt.Sprintf(linphoneConfig, n.Addr(c.Host), ports["udp"], ports["tcp"],
		c.User, c.Server, tr.Port, c.Transport))
	cmd := n.command("linphonec", "-d", "6", "-c", file)
	cmd.Env = append(cmd.Env, "HOME="+filepath.Join(n.Dir, dir))
	in, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	l := &Linphone{in: in, Process: n.start("linphone "+c.User, cmd)}
	l.AwaitLine(0, "[LinphoneRegistrationOk] on core")
	return l
}

// Say sends one line to a SIP URI.
func (l *Linphone) Say(to, line string) {
	l.t.Helper()
	if _, err := fmt.Fprintf(l.in, "chat %s %s\n", to, line); err != nil {
		l.t.Fatalf("peers: %s: %v", l.name, err)
	}
}

// AwaitMessage waits until the client shows, after mark, a message with this
// text, and returns the URI it came from.
func (l *Linphone) AwaitMessage(mark int, text string) (from string) {
	l.t.Helper()
	line := l.AwaitLine(mark, "Message received from ", ": "+text)
	_, from, _ = strings.Cut(line, "Message received from ")
	from, _, _ = strings.Cut(from, ": ")
	return from
}
