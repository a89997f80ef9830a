package talk

import (
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
)

// A Rest is a refusal that says for how long it holds: until then there is no use
// in asking again (RFC 3261, section 20.33). It ends when the SIP user speaks.
type Rest struct {
	Until  time.Time
	Status int
	Reason string
}

// rest notes for how long a refusal holds. Of a 503 the wire takes care: that is
// the server's.
func (s *said) rest(res *sip.Response) {
	switch res.StatusCode {
	case 404, 413, 480, 486, 500, 600, 603:
		if wait, ok := sipx.RetryAfter(res); ok && wait > 0 {
			s.Rest = Rest{Until: s.now.Time.Add(min(wait, maxRest)), Status: res.StatusCode, Reason: res.Reason}
		}
	}
}

// again returns the refusal for one who asks before its time is over.
func (r Rest) again(now time.Time) *sip.Response {
	res := sip.NewResponse(r.Status, r.Reason)
	left := (r.Until.Sub(now) + time.Second - 1) / time.Second // begun ones count
	res.AppendHeader(sip.NewHeader("Retry-After", fmt.Sprint(int(left))))
	return res
}
