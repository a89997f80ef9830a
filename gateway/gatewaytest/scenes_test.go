package gatewaytest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/testdata"
)

// alone are the scenes that not every way can play, and why: by a whole gateway
// in memory, and by the program. What takes too long for the program is found
// by [takesLong].
var alone = map[string]struct {
	memory, program bool
	why             string
}{
	"silent-wires": {memory: false, program: false, why: "wires of ours always tell in time what became of a message"},
	"cpim-dated":   {memory: true, program: false, why: "the time in it is that of the scenes"},
}

// curtain is when the scenes begin, as far as they name a time.
var curtain = time.Unix(1_000_000_000, 0).UTC()

// TestScenes plays the scenes by a whole gateway on a network in memory, in a
// bubble where time passes as the scenes say.
func TestScenes(t *testing.T) {
	testdata.Scenes(t, "talk", func(t *testing.T, s *testdata.Scene) {
		if a, ok := alone[s.Name]; ok && !a.memory {
			t.Log("not played:", a.why)
			return
		}
		inMemory(t, s, Options{})
	})
}

// inMemory plays a scene in a bubble.
func inMemory(t *testing.T, s *testdata.Scene, o Options) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(curtain)) // of the bubble
		o.Net, o.YAML = NewMemory(), errorWindow(300*time.Millisecond)
		w := world(t, cast(o))
		for domain := range o.Attached {
			if err := w.XMPP.Await(domain, true); err != nil {
				t.Fatal(err)
			}
		}
		Play(t, s, newStage(w, bubble{}, func(yaml string) error {
			_, _, err := w.Reload(yaml)
			return err
		}))
	})
}

// TestAlone: the list of what a way cannot play is of scenes that are there.
func TestAlone(t *testing.T) {
	names := testdata.SceneNames(t, "talk")
	for name, a := range alone {
		if !slices.Contains(names, name) || a.why == "" || a.memory && a.program {
			t.Errorf("%s has no place in the list of scenes that not every way can play", name)
		}
	}
}

// TestComponentScenes plays them once more where the XMPP domain is ours and
// sees the SIP domain as a component, under the same names (XF-72; decision
// D-74). What happens to streams between servers is not played.
func TestComponentScenes(t *testing.T) {
	played := 0
	testdata.Scenes(t, "talk", func(t *testing.T, s *testdata.Scene) {
		if a, ok := alone[s.Name]; ok && !a.memory || betweenServers(s) {
			return
		}
		played++
		inMemory(t, s, Options{Attached: map[string]string{"example.net": "secret"}})
	})
	if played < 30 {
		t.Errorf("only %d scenes were played", played)
	}
}

func betweenServers(s *testdata.Scene) bool {
	return slices.ContainsFunc(s.Turns, func(turn testdata.Section) bool { return strings.HasPrefix(turn.Name, "xmpp ") })
}

// TestProgram plays the scenes by the program that operators run, in a process
// of its own, over sockets.
func TestProgram(t *testing.T) {
	testdata.Scenes(t, "talk", func(t *testing.T, s *testdata.Scene) {
		switch a, ok := alone[s.Name]; {
		case ok && !a.program:
			t.Log("not played:", a.why)
			return
		case takesLong(s):
			t.Log("not played: it would take long")
			return
		}
		t.Parallel()
		var p *process
		w := world(t, cast(Options{
			YAML: "log: {format: json}\n" + errorWindow(hurry(s)),
			Start: func(file, caFile string) (Gate, error) {
				var err error
				p, err = launch(file, caFile)
				return p, err
			},
		}))
		Play(t, s, &reality{newStage(w, clock{}, func(yaml string) error {
			if _, err := w.Write(yaml); err != nil {
				return err
			}
			return p.reload()
		})})
	})
}

// cast adds the people of the scenes.
func cast(o Options) Options {
	o.SIPUsers, o.XMPPUsers = []string{"romeo", "Romeo", "list"}, []string{"juliet", "nobody"}
	return o
}

// errorWindow is the setting of the time in which errors may follow.
func errorWindow(d time.Duration) string {
	return fmt.Sprintf("peers:\n  \"*\": {error_window: %v}\n", d)
}

// hurry returns how long errors and receipts that end the waiting may take. In
// a scene in which no time passes nothing waits for it, so it may be long:
// nobody is to be faster than the machine is.
func hurry(s *testdata.Scene) time.Duration {
	for _, turn := range s.Turns[:len(s.Turns)-1] {
		if strings.HasSuffix(turn.Name, " passes") {
			return 300 * time.Millisecond
		}
	}
	return 15 * time.Second
}

// takesLong reports that people would have to wait for something in a scene. A
// long time at its end is there to show that nothing more comes.
func takesLong(s *testdata.Scene) bool {
	for i, turn := range s.Turns {
		who, verb, _ := strings.Cut(turn.Name, " ")
		d, _ := time.ParseDuration(who)
		if verb == "hangs" || verb == "passes" && d > 5*time.Second && i+1 < len(s.Turns) {
			return true
		}
	}
	return false
}

// A reality is a stage on which nobody can make time pass.
type reality struct{ *stage }

// Passes implements [Stage]: what follows is waited for anyway, and may have come.
func (r *reality) Passes(time.Duration) []string { return nil }

// Ends implements [Stage]. Both take their leave: what one of them is still to
// be told comes before the other's last words. After juliet's nobody waits for
// an error about romeo's; his may be refused, where her server has failed.
func (r *reality) Ends() error {
	const words = "A thousand times good night!"
	if err := r.XMPP.Write("juliet", "romeo@example.net", "last", words); err != nil {
		return err
	}
	if _, ok := r.requests.next(words, r.pace); !ok {
		return errors.New("romeo does not hear juliet's last words")
	}
	if err := r.SIP.Answer(sip.NewResponse(sip.StatusOK, "OK")); err != nil {
		return err
	}
	res, err := r.SIP.Write("romeo", "juliet@example.com", words)
	if err != nil || !res.IsSuccess() {
		return err
	}
	if _, ok := r.stanzas.next(words, r.pace); !ok {
		return errors.New("juliet does not hear romeo's last words")
	}
	return nil
}
