package peers

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// A Mcabber is an XMPP client that is logged in. It lives in a terminal; we
// write to it through its FIFO and read its trace, which holds each stanza.
type Mcabber struct {
	Stanzas

	fifo string
}

// mcabberConfig is the client's file. It is told where the server is.
const mcabberConfig = `set jid = %[1]s
set password = %[2]s
set server = %[3]s
set port = 5222
set resource = mcabber
set disable_random_resource = 1
set tls = 1
set ssl_ca = %[4]s
set tracelog_level = 3
set tracelog_file = %[5]s/trace
set fifo_name = %[5]s/fifo
module load fifo
`

// inTerminal runs the client in a pseudo-terminal that nobody looks at and
// shows its trace instead, through a pipe that is there before the client is.
const inTerminal = `mkfifo "$1/trace" && cd "$1" || exit; cat <>trace & exec script -qec "mcabber -f '$1/mcabberrc'" /dev/null >"$1/screen" </dev/null`

// StartMcabber logs user in at a server and returns when its presence is known
// there.
func (n *Net) StartMcabber(user, server string) *Mcabber {
	n.t.Helper()
	dir := filepath.Join(n.Dir, "mcabber-"+user)
	file := n.write("mcabber-"+user+"/mcabberrc", fmt.Sprintf(mcabberConfig, user, Password, server, n.CA.File, dir))
	if err := os.Chmod(file, 0o600); err != nil {
		n.t.Fatal(err)
	}
	cmd := n.command("sh", "-c", inTerminal, "sh", dir)
	cmd.Env = append(cmd.Env, "TERM=xterm")
	m := &Mcabber{fifo: dir + "/fifo", Stanzas: Stanzas{n.start("mcabber "+user, cmd)}}
	m.AwaitLine(0, "<presence ", "from='"+user+"/")
	return m
}

// Say sends one line to somebody.
func (m *Mcabber) Say(to, line string) {
	m.t.Helper()
	m.command("/say_to " + to + " " + line)
}

// Ask sends one line with an id and asks for a receipt, which the client does
// by itself only where it knows what the other's client can do.
func (m *Mcabber) Ask(to, id, line string) {
	m.t.Helper()
	m.command(fmt.Sprintf("/rawxml send <message type='chat' to='%s' id='%s'><body>%s</body><request xmlns='urn:xmpp:receipts'/></message>", to, id, line))
}

func (m *Mcabber) command(line string) {
	m.t.Helper()
	f, err := os.OpenFile(m.fifo, os.O_WRONLY, 0)
	if err == nil {
		_, err = io.WriteString(f, line+"\n")
		f.Close()
	}
	if err != nil {
		m.t.Fatalf("peers: %s: %v", m.name, err)
	}
}
