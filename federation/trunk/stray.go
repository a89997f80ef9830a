package trunk

import (
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// estrange keeps a CANCEL or ACK from a transaction that somebody else has
// begun: sipgo finds it by the branch, which is no secret to all whom a request
// has passed. With another branch it belongs to nothing; [Trunk.familiar] gives
// it the old one back for the answer.
func (t *Trunk) estrange(req *sip.Request, s *stream, source string) {
	via := req.Via()
	if via == nil {
		return
	}
	invite := sip.NewRequest(sip.INVITE, req.Recipient)
	invite.AppendHeader(via)
	invite.AppendHeader(&sip.CSeqHeader{MethodName: sip.INVITE})
	if h := req.From(); h != nil {
		invite.AppendHeader(h)
	}
	if h := req.CallID(); h != nil {
		invite.AppendHeader(h)
	}
	key, err := sip.ServerTxKeyMake(invite)
	if err != nil {
		return // sipgo says the same
	}
	t.mu.Lock()
	a := t.arrivals[key]
	t.mu.Unlock()
	other := &arrival{stream: s, source: source}
	if a == nil || a.stream != nil && a.stream == s || a.addr().Addr() == other.addr().Addr() && slices.Equal(a.proved(), other.proved()) {
		return
	}
	branch, _ := via.Params.Get("branch")
	via.Params.Add("branch", t.stray+"."+branch)
	t.log.Info("not from who began the transaction", "method", req.Method, "peer", other.peerName())
}

// proved returns the domains of the certificate with which a request came. Its
// sender may have lost a connection and opened another (RFC 5923, section 8.1).
func (a *arrival) proved() []string {
	if a.stream == nil {
		return nil
	}
	return a.stream.names
}

// familiar undoes estrange.
func (t *Trunk) familiar(req *sip.Request) {
	branch, _ := req.Via().Params.Get("branch")
	if old, ok := strings.CutPrefix(branch, t.stray+"."); ok {
		req.Via().Params.Add("branch", old)
	}
}
