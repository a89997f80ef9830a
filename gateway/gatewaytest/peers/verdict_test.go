package peers

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A verdict compares what the load tool has counted while a server was away
// with what the servers say in their logs.
type verdict struct {
	*testing.T

	server string // that was away
	kill   bool
	notes  map[string]int // how often something was missed for which there is a reason

	came     map[string]bool   // to the gateway, by the load tool's id
	endings  map[string]ending // by the same
	late     int               // messages to ejabberd that were answered after its stream was lost
	received map[string]bool   // ids of stanzas that Prosody has had from us
	handed   map[string]int    // when Prosody has handed us a stanza, by id
	acked    map[string]bool   // those of them that we have acknowledged
}

// An ending is the gateway's last line about a message.
type ending struct {
	outcome, stanza string
	after           bool // the stream to ejabberd was lost
}

// What the logs have: the gateway's line for each message, and Prosody's for
// each stanza between servers and for each acknowledgement, which names what
// remains open.
var (
	cameLine     = regexp.MustCompile(`msg="message came" wire=XMPP id=(\S+)`)
	endingLine   = regexp.MustCompile(`msg=message way=(\S+) .*call_id=(\S*) stanza_id=(\S*) .*outcome=(\S+)`)
	receivedLine = regexp.MustCompile(`Received\[s2sin\]: <message [^>]*\bid='([^']+)'`)
	handedLine   = regexp.MustCompile(`^(\S+)\s+debug\s+Sending\[s2sout\]: <(?:message|presence|iq) [^>]*\bid='([^']+)'`)
	ackedLine    = regexp.MustCompile(`^(s2sout\S+)\s+debug\s+#queue = (\d+) \(acked`)
)

// newVerdict reads the logs. The server went away after that mark in the first
// of the gateway's.
func newVerdict(t *testing.T, server string, kill bool, logs map[string][]*Log, before int) *verdict {
	v := &verdict{
		T: t, server: server, kill: kill, notes: make(map[string]int), came: make(map[string]bool), endings: make(map[string]ending),
		received: make(map[string]bool), handed: make(map[string]int), acked: make(map[string]bool),
	}
	at, down := 0, false
	for _, l := range logs["gateway"] {
		for line := range strings.Lines(l.String()) {
			at += len(line)
			down = down || at > before && strings.Contains(line, `"peer down" peer=ejabberd.example`)
			v.readGateway(line, down)
		}
	}
	for _, l := range logs["prosody"] {
		v.readProsody(l.String())
	}
	return v
}

func (v *verdict) readGateway(line string, down bool) {
	if m := endingLine.FindStringSubmatch(line); m != nil {
		id := m[2]
		if m[1] == "xmpp-sip" {
			id = m[3]
		}
		v.endings[id] = ending{m[4], m[3], down}
	} else if m := cameLine.FindStringSubmatch(line); m != nil {
		v.came[m[1]] = true
	}
}

func (v *verdict) readProsody(log string) {
	sent := make(map[string][]string) // ids, by session
	for line := range strings.Lines(log) {
		if m := receivedLine.FindStringSubmatch(line); m != nil {
			v.received[m[1]] = true
		} else if m := handedLine.FindStringSubmatch(line); m != nil {
			v.handed[m[2]] = len(v.handed) + 1
			sent[m[1]] = append(sent[m[1]], m[2])
		} else if m := ackedLine.FindStringSubmatch(line); m != nil {
			open, _ := strconv.Atoi(m[2]) // digits
			for _, id := range sent[m[1]][:max(0, len(sent[m[1]])-open)] {
				v.acked[id] = true
			}
		}
	}
}

// account judges what has become of the messages of one route.
func (v *verdict) account(route int, a Account) {
	v.Helper()
	v.Log(a)
	touched := slices.Contains(outages[v.server], route)
	if !touched && a.Told+a.Both+len(a.Silent) > 0 {
		v.Error("senders were told of failures of a server that they do not write over")
	}
	if a.Strange+len(a.Late) > 0 {
		v.Errorf("damaged, or sent when all was well: %d, %q", a.Strange, a.Late)
	}
	for what, ids := range map[string][]string{"silent": a.Silent, "doubled": a.Doubled, "overtaken": a.Overtaken} {
		for _, id := range ids {
			v.note(v.reason(what, route, id), what, id)
		}
	}
	if v.late > crossingPairs { // each may have had one that was just written
		v.Errorf("%d messages were answered 200 after the stream was lost", v.late)
	}
}

// note counts a reason, or says that there is none.
func (v *verdict) note(why, what, id string) {
	v.Helper()
	if why == "" {
		v.Errorf("%s: %s without a reason (came %t, %+v, handed over %d, acknowledged %t)", id, what, v.came[id], v.endings[id], v.handed[id], v.acked[id])
		return
	}
	v.notes[why]++
}

// xmpp is the server at the XMPP end of a route.
func xmpp(route int) string { return []string{"prosody", "ejabberd"}[route/2] }

func toXMPP(route int) bool { return route%2 == 0 }

// reason says why a message is missed, came twice or after a later one, or "".
func (v *verdict) reason(what string, route int, id string) string {
	weDied := v.server == "gateway" && v.kill
	switch {
	case what == "silent":
		return v.silence(route, id)
	case what == "doubled" && toXMPP(route) && weDied:
		return "repeated by Kamailio to a gateway that remembers nothing"
	case what == "overtaken" && !toXMPP(route) && v.reordered(id):
		return "handed to us in another order by Prosody, which has just connected"
	case what == "overtaken" && toXMPP(route) && weDied && xmpp(route) == "ejabberd":
		return "read late by ejabberd, from the stream of the gateway that was killed"
	}
	return ""
}

// silence says why nobody has heard of a message, or "".
func (v *verdict) silence(route int, id string) string {
	server := xmpp(route)
	switch {
	case toXMPP(route) && v.server == server:
		return v.taken(server, id)
	case !toXMPP(route) && v.server == server:
		return v.untaken(server, id)
	case toXMPP(route) || v.server != "gateway" || v.endings[id] != ending{}:
	case v.kill: // with the last lines of its log
		return "not finished, or not read, when the gateway was killed"
	case !v.came[id] && server == "ejabberd":
		return "not sent to us by ejabberd"
	}
	return ""
}

// taken says why a message to XMPP that was answered 200 did not arrive: its
// server had it.
func (v *verdict) taken(server, id string) string {
	end := v.endings[id]
	switch {
	case end.outcome == "bounced": // decision D-66
		return "sent back by its server after it was answered 200"
	case end.outcome != "delivered":
	case server == "prosody" && v.received[end.stanza]:
		return "taken by Prosody before it ended"
	case server == "ejabberd":
		if end.after {
			v.late++
		}
		return "written to ejabberd before it ended, which acknowledges nothing"
	}
	return ""
}

// untaken says why nobody knows of a message from XMPP that its server had
// taken from its sender.
func (v *verdict) untaken(server, id string) string {
	end, known := v.endings[id]
	switch {
	case end.outcome == "refused":
		return "refused while its sender was away"
	case known || v.came[id]:
	case server == "ejabberd":
		return "not sent to us by ejabberd"
	case v.handed[id] == 0:
		return "not handed to us by Prosody"
	case !v.acked[id]:
		return "handed to us by Prosody when it ended, and not acknowledged"
	}
	return ""
}

// reordered reports that Prosody has handed us a message after a later one of
// the same pair.
func (v *verdict) reordered(id string) bool {
	var route, pair, number int
	var token string
	if _, err := fmt.Sscanf(id, "%d-%d-%d-%s", &route, &pair, &number, &token); err != nil {
		v.Fatal(err)
	}
	for n := number + 1; ; n++ {
		at, ok := v.handed[fmt.Sprintf("%d-%d-%d-%s", route, pair, n, token)]
		if !ok {
			return false
		}
		if at < v.handed[id] {
			return true
		}
	}
}
