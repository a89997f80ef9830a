package peers

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// statusLine finds the final response that sipsak shows.
var statusLine = regexp.MustCompile(`(?m)^SIP/2\.0 ([2-6]\d\d) `)

// Sipsak sends one MESSAGE over UDP through a server, from a user who need not
// be registered, and returns the status and the whole of the final answer. The
// headers are lines that are added to the request's own, or, as the first, its
// Content-Type instead of plain text.
//
// Debian's sipsak 0.9.8.1 crashes when it is to write a MESSAGE by itself
// (-M): it sends one from a file and adds the Via.
func (n *Net) Sipsak(server netip.Addr, from, to, text string, headers ...string) (status int, answer string) {
	n.t.Helper()
	id := rand.Text()
	if len(headers) == 0 || !strings.HasPrefix(headers[0], "Content-Type:") {
		headers = append([]string{"Content-Type: text/plain;charset=utf-8"}, headers...)
	}
	lines := append([]string{
		"MESSAGE sip:" + to + " SIP/2.0",
		"From: <sip:" + from + ">;tag=" + id,
		"To: <sip:" + to + ">",
		"Call-ID: " + id,
		"CSeq: 1 MESSAGE",
		"Max-Forwards: 70",
		fmt.Sprintf("Content-Length: %d", len(text)),
	}, headers...)
	file := n.write("sipsak-"+id, strings.Join(lines, "\r\n")+"\r\n\r\n"+text)
	out, err := n.command("sipsak", "-v", "-f", file, "-s", "sip:"+server.String()).CombinedOutput()
	m := statusLine.FindSubmatch(out)
	if m == nil {
		n.t.Fatalf("peers: sipsak has no answer: %v\n%s", err, out)
	}
	status, _ = strconv.Atoi(string(m[1])) // three digits
	return status, string(out)
}
