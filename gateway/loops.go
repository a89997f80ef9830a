package gateway

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	lru "github.com/hashicorp/golang-lru/v2"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
	"cpimgate/gateway/step"
	"cpimgate/mapping"
)

// loops remembers which words have crossed from one protocol to the other, so
// that what comes round by way of another gateway does not cross again (RFC 7247,
// section 8; RES-25). SIP counts hops and XMPP does not, and a translation begins
// a new count: that the words are the same is all that there is to go by.
//
// Words that cross again in the same direction are their sender's own, who says
// "yes" twice, if they have the same origin as before. It may be used from several
// goroutines.
type loops struct {
	crossed *lru.Cache[[sha256.Size]byte, crossing]
}

// A crossing is when, and as what, words were sent on.
type crossing struct {
	to     federation.Wire
	origin string
	at     time.Time
}

const (
	crossings     = 100_000         // that are remembered
	crossingHolds = 5 * time.Minute // RES-25
)

func newLoops() loops {
	c, _ := lru.New[[sha256.Size]byte, crossing](crossings) // errs for a size below one only
	return loops{c}
}

// errLoop is the answer to what has come round.
var errLoop = &sipx.Refusal{
	Status: sip.StatusLoopDetected,
	Err: &mapping.StanzaRefusal{
		Type: "modify", Condition: "not-acceptable",
		Err: fault.E(fault.Forbidden, "Loop Detected"),
	},
}

// check notes that words are about to be sent on a wire, and is errLoop if they
// have come round. Words without a thread could be anybody's; nil words are none.
func (l loops) check(now time.Time, to federation.Wire, w *step.Words) error {
	if w == nil || w.Thread == "" {
		return nil
	}
	key := keyOf(w)
	if c, ok := l.crossed.Get(key); ok && now.Sub(c.at) < crossingHolds && (c.to != to || c.origin != w.Origin) {
		return errLoop
	}
	l.crossed.Add(key, crossing{to, w.Origin, now})
	return nil
}

// keyOf returns what words keep on their way: line ends and space around a text
// they may lose.
func keyOf(w *step.Words) [sha256.Size]byte {
	b := make([]byte, 0, 512)
	for _, part := range []string{w.Thread, w.From, w.To, strings.TrimSpace(strings.ReplaceAll(w.Text, "\r\n", "\n"))} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return sha256.Sum256(b)
}
