package sipx

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// torture is what becomes of each request of RFC 4475: 0 is taken, -1 is no
// message at all to the parser, else the status of the refusal. Where the RFC
// leaves a choice the comment says which.
var torture = map[string]int{
	"wsinv": 0, "intmeth": 400, // control characters in a display name, and sipgo folds the method
	"esc01": 0, "escnull": 0, "esc02": 0, "lwsdisp": 0,
	"longreq": 0, "dblreq": 0, "semiuri": 0, "transports": 0, "mpart01": 0,
	"badinv01": 400, "clerr": -1, "ncl": 400, "scalar02": 400, "quotbal": 400,
	"ltgtruri": -1, "lwsruri": -1, "lwsstart": -1, "trws": -1,
	"escruri":  400,
	"baddate":  0,                                 // the Date is not used, so it is ignored (3.1.2.12)
	"regbadct": 400, "badaspec": 400, "baddn": -1, // the sample ends within its headers
	"badvers":    505,
	"mismatch01": 400, "mismatch02": 400, // 400 is acceptable besides 501 (3.1.2.18)
	"badbranch": 400, "insuf": 400, "unkscm": 416, "novelsc": -1, // sipgo takes letters only in a scheme
	"unksm2":   0,
	"bext01":   0, // 420 is the transaction user's to say
	"invut":    0, // likewise 415
	"regaut01": 0, "multi01": 400, "mcl01": 400, "zeromf": 0,
	"cparam01": 0, "cparam02": 0, "regescrt": 0, "sdp01": 0,
	"inv2543": 400, // no From tag
}

func TestTorture(t *testing.T) {
	files, err := filepath.Glob("testdata/rfc4475/*.dat")
	if err != nil || len(files) == 0 {
		t.Fatal("no samples", err)
	}
	p := Parser(65535)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".dat")
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			msg, err := p.ParseSIP(b)
			if name == "bigcode" { // a status that does not fit
				if err == nil {
					t.Error("taken")
				}
				return
			}
			if res, ok := msg.(*sip.Response); ok && err == nil {
				wantErr := name == "scalarlg" || name == "bcast"
				if got := CheckResponse(res); (got != nil) != wantErr {
					t.Errorf("response: %v", got)
				}
				return
			}
			got := -1
			if err == nil {
				got = statusOf(CheckRequest(msg.(*sip.Request)))
			}
			if want, ok := torture[name]; !ok || got != want {
				t.Errorf("status %d, want %d (%v, %v)", got, want, err, msg)
			}
		})
	}
}

func statusOf(err error) int {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Status
	}
	return 0
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata/rfc4475", name+".dat"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
