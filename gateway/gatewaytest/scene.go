// Package gatewaytest tells stories to gateways: scenes, and small real domains
// that play the far sides. The same scene is played by one machine, by a whole
// gateway on a network in memory, where time is a number, and by the program
// over sockets. Only tests and the demo import it.
package gatewaytest

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cpimgate/cpim/xmltree"
	"cpimgate/testdata"
)

// A Stage is where a scene is played.
type Stage interface {
	// Sends has a person send something, or a wire or the operator do something:
	//   - "juliet sends" a stanza, "romeo sends" a request, and "romeo answers"
	//     the oldest request that has no answer;
	//   - "romeo hangs": nobody answers that request for as long as anybody
	//     waits, and the text is what the wire then says of it;
	//   - "xmpp slows": the wire to juliet, on which nothing has gone yet, holds
	//     what it is given until "xmpp takes" it, "xmpp fails", or "xmpp hangs"
	//     for as long as anybody waits; the text says why it gives up;
	//   - "manners are" what the operator has said of the two domains.
	//
	// What nobody can hear of may take a moment: a scene in which something
	// hangs on it lets somebody hear something first.
	Sends(who, verb, text string) error

	// Receives returns what the person receives next, as wire text with LF, where
	// the scene wants something; false is nothing. No time passes meanwhile where
	// it is a number.
	Receives(who, want string) (string, bool)

	// Now returns the time.
	Now() time.Time

	// Passes lets time pass, and returns what had come for anybody before and was
	// not received. Where time passes by itself nobody can say what was before.
	Passes(d time.Duration) (early []string)

	// Rest returns what has come for anybody and was not received.
	Rest() []string

	// Ends returns when all has come that was still to come after the last turn.
	Ends() error

	// Rewrites reports that what comes here may be written down as what is
	// wanted, in a run with -update.
	Rewrites() bool
}

// Play plays a scene: "romeo sends", "juliet receives", "300ms passes" and what
// the stage knows besides. What is received is compared in what the scene
// names: a header field or an attribute that it does not write may be anything.
// A value that is $name may be anything the first time, and must be the same
// wherever the name stands again; what is sent has it filled in. $now is the
// time at which the scene begins.
func Play(t *testing.T, s *testdata.Scene, stage Stage) {
	t.Helper()
	names := map[string]string{"$now": stage.Now().UTC().Format(time.RFC3339)}
	changed := false
	for i, turn := range s.Turns {
		who, verb, _ := strings.Cut(turn.Name, " ")
		switch verb {
		case "passes":
			d, err := time.ParseDuration(who)
			if err != nil {
				t.Fatalf("turn %d: %v", i+1, err)
			}
			unexpected(t, stage.Passes(d), i)
		case "receives":
			got, ok := stage.Receives(who, turn.Text)
			if !ok {
				t.Fatalf("turn %d: %s does not receive\n%s\nbut there is\n%s", i+1, who, turn.Text, strings.Join(stage.Rest(), "\n"))
			}
			err := Match(got, turn.Text, names)
			if err != nil && testdata.Updating() && stage.Rewrites() {
				s.Turns[i].Text, changed = got, true
				continue
			}
			if err != nil {
				t.Fatalf("turn %d: %s receives\n%s\nwant\n%s\n%v", i+1, who, got, turn.Text, err)
			}
		default:
			unexpected(t, stage.Rest(), i)
			if err := stage.Sends(who, verb, fill(turn.Text, names)); err != nil {
				t.Fatalf("turn %d: %s: %v", i+1, turn.Name, err)
			}
		}
	}
	if err := stage.Ends(); err != nil {
		t.Fatalf("at the end: %v", err)
	}
	unexpected(t, stage.Rest(), len(s.Turns))
	if changed {
		s.Save(t)
	}
}

// unexpected fails the test if anything has come that no turn before receives.
func unexpected(t *testing.T, rest []string, turn int) {
	t.Helper()
	if len(rest) > 0 {
		t.Fatalf("before turn %d there came, unexpected:\n%s", turn+1, strings.Join(rest, "\n"))
	}
}

var variable = regexp.MustCompile(`\$[a-z][a-z0-9]*`)

// fill replaces the names that are known.
func fill(text string, names map[string]string) string {
	return variable.ReplaceAllStringFunc(text, func(name string) string {
		if v, ok := names[name]; ok {
			return v
		}
		return name
	})
}

// Match reports how got differs from what a scene wants, nil if it does not.
func Match(got, want string, names map[string]string) error {
	if strings.HasPrefix(want, "<") {
		g, err := xmltree.ParseIn([]byte(got), "jabber:server", xmltree.Documents)
		if err != nil {
			return fmt.Errorf("not a stanza: %w", err)
		}
		w, err := xmltree.ParseIn([]byte(want), "jabber:server", xmltree.Documents)
		if err != nil {
			return fmt.Errorf("the scene's stanza: %w", err)
		}
		return matchElement(g, w, names)
	}
	return matchSIP(got, want, names)
}

// matchSIP compares start line, the header fields that want names, and the body
// if it has one.
func matchSIP(got, want string, names map[string]string) error {
	gotHead, gotBody, _ := strings.Cut(got, "\n\n")
	wantHead, wantBody, body := strings.Cut(want, "\n\n")
	gotLines, wantLines := strings.Split(gotHead, "\n"), strings.Split(strings.TrimSuffix(wantHead, "\n"), "\n")
	if err := value("start line", gotLines[0], wantLines[0], names); err != nil {
		return err
	}
	for _, line := range wantLines[1:] {
		name, v, _ := strings.Cut(line, ": ")
		if err := matchField(gotLines[1:], name, v, names); err != nil {
			return err
		}
	}
	if body {
		return value("body", strings.TrimSuffix(gotBody, "\n"), strings.TrimSuffix(wantBody, "\n"), names)
	}
	return nil
}

// matchField looks for a header field of this name and value. The value
// "(none)" wants that there is none of this name.
func matchField(lines []string, name, want string, names map[string]string) error {
	err := fmt.Errorf("there is no %s, want %s", name, want)
	for _, line := range lines {
		n, got, _ := strings.Cut(line, ": ")
		if !strings.EqualFold(n, name) {
			continue
		}
		if want == "(none)" {
			return fmt.Errorf("there is a %s: %s", name, got)
		}
		if err = value(name, got, want, names); err == nil {
			return nil
		}
	}
	if want == "(none)" {
		return nil
	}
	return err
}

// matchElement compares the name, the attributes that want has, and the
// content: all of want's children must be there, in any order but that of the
// same name, and no others.
func matchElement(got, want *xmltree.Element, names map[string]string) error {
	if got.Name != want.Name {
		return fmt.Errorf("element %v, want %v", got.Name, want.Name)
	}
	for _, a := range want.Attr {
		v, ok := got.Lookup(a.Name)
		if !ok && a.Value != "(none)" {
			return fmt.Errorf("%s has no attribute %s", got.Name.Local, a.Name.Local)
		}
		if ok && a.Value == "(none)" {
			return fmt.Errorf("%s has the attribute %s", got.Name.Local, a.Name.Local)
		}
		if !ok {
			continue
		}
		if err := value(a.Name.Local, v, a.Value, names); err != nil {
			return err
		}
	}
	left := map[xml.Name][]*xmltree.Element{}
	children := 0
	for e := range got.Elements() {
		left[e.Name] = append(left[e.Name], e)
		children++
	}
	for e := range want.Elements() {
		g := left[e.Name]
		if len(g) == 0 {
			return fmt.Errorf("%s lacks <%s/>", got.Name.Local, e.Name.Local)
		}
		if err := matchElement(g[0], e, names); err != nil {
			return err
		}
		left[e.Name] = g[1:]
		children--
	}
	if children > 0 {
		return fmt.Errorf("%s has more elements than wanted", got.Name.Local)
	}
	if slices.ContainsFunc(want.Nodes, isElement) {
		return nil
	}
	return value(got.Name.Local, strings.TrimSpace(got.Text()), strings.TrimSpace(want.Text()), names)
}

func isElement(n xmltree.Node) bool {
	_, ok := n.(*xmltree.Element)
	return ok
}

// value compares two texts, the names in want bound or filled in.
func value(what, got, want string, names map[string]string) error {
	want = fill(want, names)
	pattern, last, bound := "", 0, []string{}
	for _, at := range variable.FindAllStringIndex(want, -1) {
		pattern += regexp.QuoteMeta(want[last:at[0]]) + `([^\s<>;]+)`
		bound = append(bound, want[at[0]:at[1]])
		last = at[1]
	}
	m := regexp.MustCompile("(?s)^" + pattern + regexp.QuoteMeta(want[last:]) + "$").FindStringSubmatch(got)
	if m == nil {
		return fmt.Errorf("%s is %q, want %q", what, got, want)
	}
	for i, name := range bound {
		names[name] = m[i+1]
	}
	return nil
}
