package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"unicode"

	"github.com/emiago/sipgo/sip"
	"golang.org/x/text/width"

	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// lane is how many columns there are between two of the ladder's three rails.
// All of it fits into 100.
const lane = 47

// A ladder draws what has crossed the gateway from the gateway's own trace: on
// the left the SIP domain, on the right the XMPP domain.
type ladder struct {
	out  io.Writer
	wire bool // show the wire text too

	mu     sync.Mutex
	rungs  []rung        // not printed yet
	change chan struct{} // something was added
}

// A rung is one message on a wire, or a line of the log.
type rung struct {
	federation.Record
	shape string   // "SIP in MESSAGE", "XMPP out error"; of a note its first word
	label []string // what it is, in a few words
	note  string   // of the log; the rest is empty
}

func newLadder(out io.Writer, wire bool) *ladder {
	return &ladder{out: out, wire: wire, change: make(chan struct{}, 1)}
}

// trace is a [federation.Trace].
func (l *ladder) trace(r federation.Record) {
	r.Text = bytes.Clone(r.Text)
	l.add(read(r))
}

// log returns a handler whose lines stand between the rungs.
func (l *ladder) log() slog.Handler {
	return slog.NewTextHandler(noteWriter{l}, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}})
}

// A noteWriter makes each line of a log a note.
type noteWriter struct{ *ladder }

// Write implements [io.Writer].
func (n noteWriter) Write(b []byte) (int, error) {
	r := rung{note: strings.TrimSuffix(string(b), "\n")}
	if r.shape, _, _ = strings.Cut(r.note, " "); r.shape == refusedNote {
		r.shape = messageNote
	}
	n.add(r)
	return len(b), nil
}

// messageNote is the shape of the one note about each message; what comes no
// further than the entrance has the other one.
const (
	messageNote = "msg=message"
	refusedNote = "msg=refused"
)

func (l *ladder) add(r rung) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rungs = append(l.rungs, r)
	select {
	case l.change <- struct{}{}:
	default:
	}
}

// await waits until the shapes have been traced, in this order.
func (l *ladder) await(ctx context.Context, shapes []string) error {
	for {
		next := 0
		l.mu.Lock()
		for _, r := range l.rungs {
			if next < len(shapes) && r.shape == shapes[next] {
				next++
			}
		}
		l.mu.Unlock()
		if next == len(shapes) {
			return nil
		}
		select {
		case <-l.change:
		case <-ctx.Done():
			return fmt.Errorf("the gateway's trace lacks %q", shapes[next])
		}
	}
}

// take returns what was traced since it was asked last.
func (l *ladder) take() []rung {
	l.mu.Lock()
	defer l.mu.Unlock()
	rungs := l.rungs
	l.rungs = nil
	return rungs
}

// read says what a record is.
func read(r federation.Record) rung {
	g := rung{Record: r}
	way := " in "
	if r.Out {
		way = " out "
	}
	kind, err := "", error(nil)
	if r.Wire == federation.SIP {
		kind, g.label, err = readSIP(r.Text)
	} else {
		kind, g.label, err = readXMPP(r.Text)
	}
	if err != nil {
		line, _, _ := strings.Cut(string(r.Text), "\n")
		kind, g.label = "unreadable", []string{line}
	}
	for i, part := range g.label {
		g.label[i] = oneLine(part)
	}
	g.shape = string(r.Wire) + way + kind
	return g
}

func readSIP(text []byte) (kind string, label []string, err error) {
	msg, err := sipx.Parser(1 << 20).ParseSIP(text)
	if err != nil {
		return "", nil, err
	}
	if res, ok := msg.(*sip.Response); ok {
		return fmt.Sprint(res.StatusCode), []string{fmt.Sprint(res.StatusCode, " ", res.Reason)}, nil
	}
	req := msg.(*sip.Request)
	label = []string{string(req.Method) + " " + req.Recipient.String()}
	if from := req.From(); from != nil {
		label = append(label, "from "+from.Address.String())
	}
	if media, ok := sipx.MediaType(req); ok && media == "text/plain" {
		label = append(label, quoted(string(req.Body())))
	}
	return string(req.Method), label, nil
}

func readXMPP(text []byte) (kind string, label []string, err error) {
	e, err := xmltree.ParseIn(text, xep.NS, xmltree.Limits{})
	if err != nil {
		return "", nil, err
	}
	kind = e.Name.Local
	what := kind
	if t := e.Get("type"); t != "" {
		what += " " + t
	}
	parties := []string{"to " + e.Get("to"), "from " + e.Get("from")}
	if e.Get("type") == "error" {
		x := xep.ErrorOf(e)
		label = append([]string{what + ": " + x.Condition}, parties...)
		if x.Text != "" {
			label = append(label, quoted(x.Text))
		}
		return "error", label, nil
	}
	label = append([]string{what}, parties...)
	if body := e.Child(xep.NS, "body"); body != nil {
		label = append(label, quoted(body.Text()))
	}
	return kind, label, nil
}

func quoted(s string) string { return "“" + strings.TrimSpace(s) + "”" }

// oneLine takes out what a terminal could take for an order.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, s)
}

// security names how the bytes are kept from others. The domains of the demo
// refuse a stream without TLS, and TCP is how it begins.
func (r rung) security() string {
	switch {
	case r.Via == federation.TLS:
		return "TLS"
	case r.Wire == federation.XMPP:
		return "STARTTLS"
	}
	return strings.ToUpper(string(r.Via)) + ", no TLS"
}

// head prints the names above the rails.
func (l *ladder) head(left, middle, right string) {
	gap := lane + 3 - len(left) - len(middle)/2
	l.line(" " + left + strings.Repeat(" ", gap-1) + middle +
		strings.Repeat(" ", 2*lane+3-len(left)-gap-len(middle)-len(right)+1) + right)
	l.line(" " + pad("SIP", 2*lane+3-len("XMPP")) + "XMPP")
}

// title opens the part of one message.
func (l *ladder) title(n int, title string) { l.line(fmt.Sprintf("\n%d. %s", n, title)) }

// say prints plain words below the rails.
func (l *ladder) say(words string) {
	for i, s := range fold(words, 2*lane) {
		lead := "   "
		if i == 0 {
			lead = "=> "
		}
		l.line(lead + s)
	}
}

// print draws rungs.
func (l *ladder) print(rungs []rung) {
	for _, r := range rungs {
		if r.note != "" {
			for _, s := range fold(oneLine(r.note), 2*lane-4) {
				l.line("   · " + s)
			}
			continue
		}
		l.rung(r)
	}
}

// rung draws one: its label, and the arrow below it.
func (l *ladder) rung(r rung) {
	for _, part := range r.label {
		for _, s := range fold(part, lane-2) {
			l.row(r, "│", " "+pad(s, lane-1), "│")
		}
	}
	name := " " + r.security() + " "
	shaft := strings.Repeat("─", lane-3-len(name))
	if rightward := (r.Wire == federation.SIP) != r.Out; rightward {
		l.row(r, "├", "──"+name+shaft+">", "│")
	} else {
		l.row(r, "│", "<"+shaft+name+"──", "┤")
	}
	if !l.wire {
		return
	}
	for s := range strings.SplitSeq(strings.TrimRight(string(r.Text), "\r\n"), "\n") {
		for _, s := range fold(oneLine(s), 2*lane-4) {
			l.line("     " + s)
		}
	}
	l.line("")
}

// row prints a line with something in one of the lanes.
func (l *ladder) row(r rung, left, text, right string) {
	if r.Wire == federation.SIP {
		l.line(" " + left + text + right + strings.Repeat(" ", lane) + "│")
		return
	}
	l.line(" │" + strings.Repeat(" ", lane) + left + text + right)
}

// line prints one line; that the reader has gone is no news to anybody.
func (l *ladder) line(s string) { _, _ = fmt.Fprintln(l.out, strings.TrimRight(s, " ")) }

// columns is how wide a text is on a terminal (Unicode Standard Annex 11).
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += columnsOf(r)
	}
	return n
}

func columnsOf(r rune) int {
	switch k := width.LookupRune(r).Kind(); {
	case unicode.Is(unicode.Mn, r):
		return 0
	case k == width.EastAsianWide, k == width.EastAsianFullwidth:
		return 2
	}
	return 1
}

func pad(s string, to int) string { return s + strings.Repeat(" ", max(0, to-columns(s))) }

// fold breaks a text into lines of so many columns, at spaces where there are
// any in the last third.
func fold(s string, limit int) []string {
	var lines []string
	for columns(s) > limit {
		n, end, space := 0, 0, 0
		for i, r := range s {
			if n += columnsOf(r); n > limit {
				break
			}
			end = i + len(string(r))
			if r == ' ' && n > limit*2/3 {
				space = end
			}
		}
		if space > 0 {
			end = space
		}
		lines, s = append(lines, strings.TrimRight(s[:end], " ")), s[end:]
	}
	return append(lines, s)
}
