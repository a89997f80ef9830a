package talk

import (
	"slices"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/gateway/step"
)

// TestRest: of all refusals, those of RFC 3261, section 20.33 hold for as long as
// they say, and no longer than we believe anybody; a 503 is the wire's to honour.
func TestRest(t *testing.T) {
	for status := 300; status < 700; status++ {
		talk := &Talk{Last: epoch, Flying: outgoing("f1")}
		res := sip.NewResponse(status, "No")
		res.AppendHeader(sip.NewHeader("Retry-After", "30"))
		play(talk, step.Response{Of: "f1", SIP: res})
		want := time.Time{}
		if slices.Contains([]int{404, 413, 480, 486, 500, 600, 603}, status) {
			want = epoch.Add(30 * time.Second)
		}
		if !talk.Rest.Until.Equal(want) {
			t.Errorf("%d holds until %v, want %v", status, talk.Rest.Until, want)
		}
	}
	for value, want := range map[string]time.Duration{"0": 0, "": 0, "soon": 0, "86400": maxRest, "60;duration=3600": time.Minute} {
		talk := &Talk{Last: epoch, Flying: outgoing("f1")}
		res := sip.NewResponse(480, "No")
		res.AppendHeader(sip.NewHeader("Retry-After", value))
		play(talk, step.Response{Of: "f1", SIP: res})
		if got := talk.Rest.Until; want == 0 != got.IsZero() || want > 0 && !got.Equal(epoch.Add(want)) {
			t.Errorf("Retry-After %q: until %v, want %v", value, got, want)
		}
	}
}
