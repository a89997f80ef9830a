package peers

import (
	"io"
	"strings"
	"testing"
)

// TestDemoStay points clients that are not ours at the demo, by the very lines
// that it prints. They write to each other over the gateway that it plays, and
// hear who is not there.
func TestDemoStay(t *testing.T) {
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			n := New(t)
			demo := n.start("demo", n.command(cpimgate, "demo", "--stay", "--sip", "127.0.0.1:0", "--xmpp", "127.0.0.1:0"))
			phone := demo.AwaitLine(0, "baresip -4 -f ")
			ear, mouth := demo.AwaitLine(0, "go-sendxmpp -l "), demo.AwaitLine(0, "go-sendxmpp -i ")
			if transport == "tcp" {
				dir := phone[strings.LastIndexByte(phone, ' ')+1:]
				phone = "sed -i s/transport=udp/transport=tcp/ " + dir + "/accounts && " + phone
			}

			romeo, toRomeo := n.copied(phone)
			romeo.AwaitLine(0, "romeo@montague.example", "200 OK", "[1 binding]")
			juliet, _ := n.copied(debugged(ear))
			juliet.AwaitLine(0, "<presence ", "from='juliet@capulet.example/")

			io.WriteString(toRomeo, "/message Art thou there? Ça va?\n")
			juliet.AwaitLine(0, "romeo@montague.example: Art thou there? Ça va?")
			_, toJuliet := n.copied(mouth)
			io.WriteString(toJuliet, "Ay — 愛してる\n")
			(&Baresip{Process: romeo}).AwaitMessage(0, "Ay — 愛してる")

			nobody, toNobody := n.copied(debugged(strings.Replace(mouth, "romeo@", "nobody@", 1)))
			io.WriteString(toNobody, "is anybody there?\n")
			if e := (Stanzas{nobody}).AwaitError(0, "nobody@montague.example"); e.Condition() != "item-not-found" {
				t.Errorf("juliet got %v", e)
			}
			demo.AwaitLine(0, "│ from sip:juliet@capulet.example;gr=")
			if err := demo.Stop(); err != nil {
				t.Errorf("demo: %v", err)
			}
		})
	}
}

// debugged has go-sendxmpp show the stanzas that it receives.
func debugged(line string) string {
	return strings.Replace(line, "go-sendxmpp", "go-sendxmpp --debug", 1)
}

// copied runs a line that somebody has copied from a screen, and returns what
// he types into.
func (n *Net) copied(line string) (*Process, io.Writer) {
	n.t.Helper()
	cmd := n.command("sh", "-c", line)
	in, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	return n.start(line, cmd), in
}
