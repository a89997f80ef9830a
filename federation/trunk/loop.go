package trunk

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
)

// branchOf returns a branch for a request of ours. Its second part is made of
// what does not change on the way round a loop (RFC 5393, section 4.2.1): the
// Request-URI and what identifies the request. A spiral comes back with another
// Request-URI, as when a SIP user has forwarded his messages to an XMPP user.
func branchOf(req *sip.Request) string { return sipx.NewBranch() + "." + footprint(req) }

// footprint is a plain hash, so that it holds after a restart and on another
// node. Who forges it has his own request refused.
func footprint(req *sip.Request) string {
	b := make([]byte, 0, 512)
	write := func(s string) { b = append(append(strconv.AppendInt(b, int64(len(s)), 10), ':'), s...) }
	write(canonical(req.Recipient))
	if c := req.CallID(); c != nil {
		write(c.Value())
	}
	if c := req.CSeq(); c != nil {
		write(cseqText(c))
	}
	if f := req.From(); f != nil {
		tag, _ := f.Params.Get("tag")
		write(tag)
	}
	if to := req.To(); to != nil {
		tag, _ := to.Params.Get("tag")
		write(tag)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12])
}

// cseqText is the value of a CSeq; sipgo's makes it by fmt.
func cseqText(c *sip.CSeqHeader) string {
	return strconv.Itoa(int(c.SeqNo)) + " " + string(c.MethodName)
}

// loop refuses a request of ours that comes back to us as it has left (RFC 5393,
// section 4.2.2). One that comes back as a stanza the gateway knows.
func (t *Trunk) loop(a *arrival) error {
	own := ""
	for _, h := range a.req.Headers() {
		via, ok := h.(*sip.ViaHeader)
		if !ok || !t.isOwn(via) {
			continue
		}
		branch, _ := via.Params.Get("branch")
		_, second, ok := strings.Cut(branch, ".")
		if !ok {
			continue
		}
		if own == "" {
			own = footprint(a.req)
		}
		if second == own {
			return sipx.Refuse(sip.StatusLoopDetected, fault.Forbidden, "Loop Detected")
		}
	}
	return nil
}

// isOwn reports a Via whose sent-by is one of ours.
func (t *Trunk) isOwn(via *sip.ViaHeader) bool {
	port := via.Port
	if port == 0 {
		port = sip.DefaultPort(via.Transport)
	}
	return strings.EqualFold(strings.Trim(via.Host, "[]"), strings.Trim(t.cfg.Name, "[]")) &&
		port == t.ports[federation.Transport(strings.ToLower(via.Transport))]
}
