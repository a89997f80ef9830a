package peers

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/federation/s2s"
)

// echo answers each message with its own words.
type echo struct {
	c *s2s.Component
	t *testing.T
}

// ServeStanza implements [s2s.Handler].
func (h *echo) ServeStanza(_ context.Context, e *xmltree.Element, peer federation.Peer) {
	body := e.Child(xep.NS, "body")
	if body == nil {
		return
	}
	if !peer.SpeaksFor("xmpp.example") {
		h.t.Errorf("the peer is %v", peer)
	}
	answer := xmltree.New(xep.NS, "message", xmltree.New(xep.NS, "body", xmltree.Text("echo "+body.Text()))).
		With("from", e.Get("to")).With("to", e.Get("from")).With("type", "chat").With("id", "1")
	h.c.Send(answer, time.Time{}, nil)
}

// component runs a component of the server for sip.example until the test is
// over.
func (n *Net) component(t *testing.T, server netip.Addr, secret string) *s2s.Component {
	h := &echo{t: t}
	h.c = s2s.NewComponent(s2s.ComponentConfig{
		Name: "cpimgate", Version: "test", Domain: "sip.example", Server: netip.AddrPortFrom(server, 5347).String(), Secret: secret,
		Domains: []string{"xmpp.example"}, Handler: h,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.c.Run(ctx) }() // the cleanup waits for it
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h.c
}

// TestComponent attaches us to Prosody: transparent names of a foreign domain,
// both ways, also after the server was away; a wrong secret is refused
// (XEP-0114, section 3; decision D-74).
func TestComponent(t *testing.T) {
	n := New(t)
	n.Zone(XMPPRecords("xmpp.example", 20, true) + ClientRecords("xmpp.example"))
	p := n.StartProsody(ProsodyConfig{Domain: "xmpp.example", Host: 20, Users: []string{"juliet"}, SecureAuth: true})
	p.Kill()
	text, err := os.ReadFile(n.Dir + "/" + p.path)
	if err != nil {
		t.Fatal(err)
	}
	n.write(p.path, "component_interfaces = { \""+p.Addr.String()+"\" }\n"+string(text)+"Component \"sip.example\"\n component_secret = \"secret\"\n validate_from_addresses = false\n")
	p.Start()
	c := n.component(t, p.Addr, "secret")
	p.until("component", func() error {
		if st := c.Status(); !st.Up {
			return os.ErrNotExist
		}
		return nil
	})
	juliet := n.StartSendxmpp("juliet@xmpp.example", "romeo@sip.example")
	juliet.Say("Wherefore art thou?")
	if m := juliet.AwaitMessage(0, "echo Wherefore art thou?"); m.From != "romeo@sip.example" {
		t.Errorf("juliet got %v", m)
	}

	p.Kill()
	juliet.Kill()
	p.Start()
	p.until("component", func() error {
		if st := c.Status(); !st.Up {
			return os.ErrNotExist
		}
		return nil
	})
	juliet = n.StartSendxmpp("juliet@xmpp.example", "romeo@sip.example")
	juliet.Say("Deny thy father")
	juliet.AwaitMessage(0, "echo Deny thy father")

	wrong := n.component(t, p.Addr, "wrong")
	p.until("refusal", func() error {
		if st := wrong.Status(); st.Err == nil || !strings.Contains(st.Err.Error(), "not accept us") {
			return os.ErrNotExist
		}
		return nil
	})
}
