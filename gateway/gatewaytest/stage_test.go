package gatewaytest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/gateway/talk"
	"cpimgate/testdata"
)

// patience is how long is waited for what must come. Nothing is expected to
// take so long, and nothing is slower for it.
const patience = time.Minute

// A pace is how time goes on a stage.
type pace interface {
	// settle returns when all has happened that happens at once, as far as that
	// can be known.
	settle()

	// await waits for a sign that something has come; false: nothing will.
	await(sign <-chan struct{}) bool

	// pass returns when that much time has passed, if it can be made to.
	pass(d time.Duration)
}

// bubble is the pace in a bubble of synctest.
type bubble struct{}

func (bubble) settle()                    { synctest.Wait() }
func (bubble) await(<-chan struct{}) bool { return false }
func (bubble) pass(d time.Duration)       { time.Sleep(d); synctest.Wait() } // of the bubble

// clock is the pace of a clock on the wall. What follows when some time has
// passed is waited for; that meanwhile nothing comes it does not show.
type clock struct{}

func (clock) settle()            {}
func (clock) pass(time.Duration) {}
func (clock) await(sign <-chan struct{}) bool {
	select {
	case <-sign:
		return true
	case <-time.After(patience):
		return false
	}
}

// A stage plays scenes by a whole gateway: romeo is the SIP domain of a world,
// juliet its XMPP domain.
type stage struct {
	*World
	pace
	reload func(yaml string) error // of the gateway's settings

	sent     int
	last     time.Time // when romeo sent something
	answers  *ear      // what romeo hears of his requests
	requests *ear      // what he is sent
	stanzas  *ear      // what juliet is sent
}

// newStage makes a stage of a world that has answered nothing yet.
func newStage(w *World, p pace, reload func(yaml string) error) *stage {
	s := &stage{World: w, pace: p, reload: reload, answers: newEar(), requests: newEar(), stanzas: newEar()}
	w.SIP.Script()
	w.SIP.Take = func(req *sip.Request) { s.requests.hear(lf(req.String())) }
	w.XMPP.Take = func(e *xmltree.Element) { s.stanzas.hear(string(e.Append(nil, xep.NS))) }
	return s
}

// Sends implements [Stage].
func (s *stage) Sends(who, verb, text string) error {
	defer s.settle()
	switch who + " " + verb {
	case "juliet sends":
		e, err := xmltree.ParseIn([]byte(text), xep.NS, xmltree.Documents)
		if err != nil {
			return err
		}
		return s.XMPP.Send(e)
	case "romeo sends", "romeo answers":
		msg, err := sipx.Parser(1 << 20).ParseSIP([]byte(testdata.CRLF(text)))
		if err != nil {
			return err
		}
		if res, ok := msg.(*sip.Response); ok {
			return s.SIP.Answer(res)
		}
		s.send(msg.(*sip.Request))
	case "romeo hangs":
		came, err := s.SIP.Ignore()
		s.pass(time.Until(came.Add(talk.Deadline)))
		return err
	case "manners are":
		return s.manners(text)
	case "xmpp slows":
		s.XMPP.Hold()
	case "xmpp takes":
		s.XMPP.Admit()
	case "xmpp fails":
		s.XMPP.Reject()
	case "xmpp hangs":
		s.pass(time.Until(s.last.Add(talk.Deadline)))
		s.XMPP.Reject()
	default:
		return errors.New("this stage has no such turn")
	}
	return nil
}

// send has romeo send a request. Its answer comes with what he receives.
func (s *stage) send(req *sip.Request) {
	for req.RemoveHeader("Via") {
	}
	s.sent++ // scenes repeat their tags, and repeated requests are merged
	req.From().Params.Add("tag", fmt.Sprint("scene", s.sent))
	s.last = time.Now()
	go func() { // ends with the world at the latest
		res, err := s.SIP.Send(req)
		if err != nil {
			s.answers.hear(err.Error())
			return
		}
		s.answers.hear(lf(res.String()))
	}()
}

// settings are the manners of a conversation in the words of the operator.
var settings = map[string]string{
	"Chat":       "  example.com: {pager_type: chat}\n",
	"PlainOnly":  "  example.com: {xhtml: false}\n",
	"ClassFour":  "  example.net: {bare_jid_errors: 4xx}\n",
	"Plaintext":  "  example.net: {encrypted: fallback}\n",
	"NoReaction": "  example.net: {reactions: false}\n",
}

// manners has the gateway read its settings again, with other manners in them.
func (s *stage) manners(text string) error {
	var on map[string]bool
	if err := json.Unmarshal([]byte(text), &on); err != nil {
		return err
	}
	yaml := s.YAML // it ends with peers
	for name, v := range on {
		line, known := settings[name]
		if !known || !v || len(on) > 1 {
			return fmt.Errorf("this stage has no such manners: %s", text)
		}
		yaml += line
	}
	return s.reload(yaml)
}

// Receives implements [Stage]. Answers and requests come to romeo on two ways,
// whose order tells nothing.
func (s *stage) Receives(who, want string) (string, bool) {
	s.settle()
	from := s.stanzas
	switch {
	case who == "romeo" && strings.HasPrefix(want, "SIP/"):
		from = s.answers
	case who == "romeo":
		from = s.requests
	}
	return from.next("", s.pace)
}

// Now implements [Stage].
func (*stage) Now() time.Time { return time.Now() }

// Passes implements [Stage].
func (s *stage) Passes(d time.Duration) []string {
	early := s.Rest()
	s.pass(d)
	return early
}

// Rest implements [Stage].
func (s *stage) Rest() []string {
	s.settle()
	return slices.Concat(s.answers.rest(), s.requests.rest(), s.stanzas.rest())
}

// Ends implements [Stage].
func (s *stage) Ends() error { return nil }

// Rewrites implements [Stage]: a gateway says more than the conversation.
func (*stage) Rewrites() bool { return false }

// An ear holds what somebody has received and the scene has not heard of.
type ear struct {
	more chan struct{} // a sign that something has come

	mu    sync.Mutex
	texts []string
}

func newEar() *ear { return &ear{more: make(chan struct{}, 1)} }

func (e *ear) hear(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.texts = append(e.texts, text)
	select {
	case e.more <- struct{}{}:
	default:
	}
}

// next waits for a text with these words, and takes the oldest.
func (e *ear) next(words string, p pace) (string, bool) {
	for {
		if text, ok := e.take(words); ok {
			return text, true
		}
		if !p.await(e.more) {
			return "", false
		}
	}
}

func (e *ear) take(words string) (string, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(e.texts, func(text string) bool { return strings.Contains(text, words) })
	if i < 0 {
		return "", false
	}
	text := e.texts[i]
	e.texts = slices.Delete(e.texts, i, i+1)
	return text, true
}

// rest takes all.
func (e *ear) rest() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	texts := e.texts
	e.texts = nil
	return texts
}

func lf(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }
