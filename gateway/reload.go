package gateway

import (
	"slices"
	"strings"

	"mellium.im/xmpp/jid"

	"cpimgate/federation"
	"cpimgate/gateway/config"
	"cpimgate/gateway/policy"
	"cpimgate/gateway/step"
	"cpimgate/gateway/talk"
)

// Reload puts other settings in force while messages are carried: domains with
// their components, peers with their rules and manners, the block list, rates. What is under way
// goes on, and so do connections that are open. It returns by their keys the
// settings that have changed, and those that differ from what the gateway was
// started with and wait for a restart. Calls are made one after the other.
//
// On an error nothing has changed.
func (g *Gateway) Reload(s *config.Config) (live, restart []string, err error) {
	block, err := policy.NewList(s.Policy.Block)
	if err != nil {
		return nil, nil, err
	}
	live, _ = config.Diff(g.settings.Settings(), s)
	_, restart = config.Diff(g.started, s)
	g.policy.Set(rates(s), block)
	g.settings.Set(s)
	g.trunk.Review()
	g.s2s.Review()
	g.routes.forget()
	g.components.set(s.Attachments())
	g.log.Info("settings read again", "changed", strings.Join(live, " "))
	for _, key := range restart {
		g.log.Warn("needs a restart: " + key)
	}
	g.doubts(s)
	if slices.ContainsFunc(live, func(key string) bool { return strings.HasPrefix(key, "domains.") }) {
		g.gaps()
	}
	return live, restart, nil
}

// doubts says what the operator may not have meant so.
func (g *Gateway) doubts(s *config.Config) {
	for _, warning := range s.Warnings() {
		g.log.Warn("settings", "err", warning)
	}
}

// gaps says which domain no certificate of ours proves.
func (g *Gateway) gaps() {
	for _, gap := range g.trust.Gaps() {
		g.log.Warn("certificate does not cover a domain", "err", gap)
	}
}

func rates(s *config.Config) policy.Limits {
	return policy.Limits{PerSender: s.Limits.PerSender, PerPeer: s.Limits.PerPeer, Strangers: s.Limits.Strangers}
}

// machine makes the conversation of two users.
func (g *Gateway) machine(key step.Key) step.Machine {
	if key.Kind == talk.KindBorder {
		return &talk.Border{}
	}
	return &mannered{Talk: &talk.Talk{}, key: key, book: g.settings}
}

// A mannered conversation has the manners that the operator wants for the two
// domains now. It is told of them before the event that comes first after a
// change, so that the conversation itself stays a machine whose memory is in
// its fields, and a reload need not look for it.
type mannered struct {
	*talk.Talk
	key  step.Key
	book *config.Live
	seen *config.Config // of which the manners are
}

// Step implements [step.Machine].
func (m *mannered) Step(now step.Now, ev step.Event) []step.Effect {
	if s := m.book.Settings(); s != m.seen {
		m.seen, m.Manners = s, mannersOf(s, m.key)
	}
	return m.Talk.Step(now, ev)
}

func mannersOf(s *config.Config, key step.Key) talk.Manners {
	onSIP, onXMPP, _ := strings.Cut(key.Name, " ")
	from, to := peerOf(s, onSIP), peerOf(s, onXMPP)
	return talk.Manners{
		Chat:       *to.PagerType == "chat",
		PlainOnly:  !*to.XHTML,
		ClassFour:  *from.BareJIDErrors == "4xx",
		Plaintext:  *from.Encrypted == "fallback",
		NoReaction: !*from.Reactions,
		Window:     *to.ErrorWindow,
	}
}

func peerOf(s *config.Config, address string) config.Peer {
	j, err := jid.Parse(address)
	if err != nil {
		return s.Peer("")
	}
	domain, _ := federation.Domain(j.Domainpart()) // an error leaves what holds for all
	return s.Peer(domain)
}
