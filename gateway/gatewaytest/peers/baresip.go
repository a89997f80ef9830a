package peers

import (
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strconv"
)

// A BaresipConfig says who uses the client and how it reaches its server.
type BaresipConfig struct {
	User      string // "romeo@sip.example"
	Host      int    // last number of the client's address
	Server    netip.Addr
	Transport string // "udp", "tcp" or "tls"

	// Correspondent is the SIP URI that the client's messages go to; it has
	// one at a time.
	Correspondent string
}

// A Baresip is a SIP client that has registered.
type Baresip struct {
	*Process

	user string
	in   io.Writer
}

// baresipConfig is the client's file: no sound, no codecs, its own address
// only, and the net's authority.
const baresipConfig = `sip_listen %[1]s:5060
net_interface %[1]s
sip_cafile %[2]s
sip_trans_def %[3]s
dns_server %[4]s
module_path /usr/lib/baresip/modules
module stdio.so
module_app account.so
module_app contact.so
module_app menu.so
`

// StartBaresip runs a client and returns when the server has its registration.
func (n *Net) StartBaresip(c BaresipConfig) *Baresip {
	n.t.Helper()
	port := map[string]int{"udp": 5060, "tcp": 5060, "tls": 5061}[c.Transport]
	dir := "baresip-" + c.User
	n.write(dir+"/config", fmt.Sprintf(baresipConfig, n.Addr(c.Host), n.CA.File, c.Transport, n.DNS()))
	n.write(dir+"/accounts", fmt.Sprintf("<sip:%s;transport=%s>;regint=600;outbound=\"sip:%s:%d;transport=%s\"\n",
		c.User, c.Transport, c.Server, port, c.Transport))
	n.write(dir+"/contacts", fmt.Sprintf("\"Correspondent\" <%s>\n", c.Correspondent))
	cmd := n.command("baresip", "-4", "-s", "-f", n.Dir+"/"+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	b := &Baresip{user: c.User, in: in, Process: n.start("baresip "+c.User, cmd)}
	b.AwaitLine(0, c.User, "200 OK", "[1 binding]")
	return b
}

// Say sends one line to the correspondent and returns the final answer's
// status.
func (b *Baresip) Say(line string) int {
	b.t.Helper()
	return b.AwaitStatus(b.Send(line))
}

// Send sends one line to the correspondent and returns the mark after which the
// answer is to be awaited.
func (b *Baresip) Send(line string) (mark int) {
	b.t.Helper()
	mark = b.Log.Len()
	if _, err := io.WriteString(b.in, "/message "+line+"\n"); err != nil {
		b.t.Fatalf("peers: %s: %v", b.name, err)
	}
	return mark
}

// AwaitStatus returns the status of the final answer to what was sent last
// after mark.
func (b *Baresip) AwaitStatus(mark int) (status int) {
	b.t.Helper()
	b.Await(mark, "answer to MESSAGE", func(text string) bool {
		status = finalStatus(text, b.user)
		return status != 0
	})
	return status
}

// Both halves of a transaction in the client's trace carry the same branch.
var (
	ourMessage = regexp.MustCompile(`(?s)\nMESSAGE [^\n]*\nVia: [^\n]*;branch=([^;\s]+).*?\nFrom: <([^>]*)>`)
	finalTo    = `(?m)^SIP/2\.0 ([2-6]\d\d) [^\n]*\nVia: [^\n]*;branch=`
)

// finalStatus returns the status of the final response in a trace to the last
// MESSAGE there that user has sent, or 0.
func finalStatus(trace, user string) (status int) {
	for _, m := range ourMessage.FindAllStringSubmatch(trace, -1) {
		if m[2] != "sip:"+user {
			continue
		}
		answer := regexp.MustCompile(finalTo + regexp.QuoteMeta(m[1]) + `\b`).FindStringSubmatch(trace)
		if status = 0; answer != nil {
			status, _ = strconv.Atoi(answer[1]) // three digits
		}
	}
	return status
}

// AwaitMessage waits until the client shows, after mark, a message with this
// text, apart from space at its ends, and returns the URI it came from.
func (b *Baresip) AwaitMessage(mark int, text string) (from string) {
	b.t.Helper()
	shown := regexp.MustCompile(`(?m)\r?([a-z]+:[^\s"]+): "` + regexp.QuoteMeta(text) + `\s*"`)
	b.Await(mark, fmt.Sprintf("message %q", text), func(out string) bool {
		m := shown.FindStringSubmatch(out)
		if m != nil {
			from = m[1]
		}
		return m != nil
	})
	return from
}
