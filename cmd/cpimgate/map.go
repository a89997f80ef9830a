package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/gateway"
	"cpimgate/gateway/step"
	"cpimgate/gateway/talk"
	"cpimgate/mapping"
)

type mapCommand struct {
	File string `arg:"" help:"File with one SIP MESSAGE, a response to one, or one message stanza; - is standard input."`

	Gateway       string `placeholder:"NAME" help:"SIP users appear to XMPP at this name, romeo\\40sip.example@NAME."`
	PagerType     string `enum:"normal,chat" default:"normal" help:"Type of stanzas made from SIP: normal or chat."`
	PagerSize     int    `default:"1300" help:"Largest MESSAGE in bytes (${default})."`
	BareJIDErrors string `name:"bare-jid-errors" enum:"6xx,4xx" default:"6xx" help:"Class of SIP errors about a bare JID: 6xx or 4xx."`
	Encrypted     string `enum:"refuse,fallback" default:"refuse" help:"What to do with encrypted messages: refuse, or send the text beside them (fallback)."`
	XHTML         bool   `name:"xhtml" default:"true" negatable:"" help:"Formatted text to XMPP."`
}

// maxInput is more than any message that the gateway takes.
const maxInput = 1 << 20

// Help is what --help says besides.
func (mapCommand) Help() string {
	return `Gives the message to a conversation as the gateway does, and prints what it does about it: lines that begin with # are
remarks, the rest is wire text. The options are the keys of the same name under peers. Who may send it is not judged;
ids are made up. A response or an error stanza is read as the answer to a message that was just sent.

Exit status: 0 it goes through, 1 the sender would be refused, 2 the command line is wrong or the file is no such
message.`
}

// Run implements the command.
func (m mapCommand) Run() error {
	in := io.Reader(os.Stdin)
	if m.File != "-" {
		f, err := os.Open(m.File)
		if err != nil {
			return usage(err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err != nil {
		return usage(err)
	}
	text, err := m.convert(b, time.Now())
	if _, werr := io.WriteString(os.Stdout, text); err == nil {
		err = werr
	}
	return err
}

// convert returns what becomes of a message. The error is an exit.
func (m mapCommand) convert(in []byte, now time.Time) (string, error) {
	o := newOffline(m, now)
	in = bytes.TrimLeft(bytes.TrimPrefix(in, []byte("\ufeff")), " \t\r\n")
	var err error
	switch {
	case len(in) > maxInput:
		err = fmt.Errorf("over %d bytes", maxInput)
	case len(in) == 0:
		err = fmt.Errorf("there is nothing in it")
	case in[0] == '<':
		err = o.stanza(in)
	default:
		err = o.sip(wire(in))
	}
	if err != nil {
		return o.String(), usage(fmt.Errorf("%s: %w", m.File, err))
	}
	if o.refused {
		return o.String(), exit{code: 1}
	}
	return o.String(), nil
}

// wire gives a SIP message from a text file the line ends that it has on the
// wire (RFC 3261, section 7), and its body the length that it says it has.
func wire(in []byte) []byte {
	crlf := func(b []byte) []byte {
		return bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	}
	head, body, ok := bytes.Cut(in, []byte("\r\n\r\n"))
	if !ok {
		head, body, _ = bytes.Cut(in, []byte("\n\n"))
	}
	head = append(crlf(bytes.TrimRight(head, "\r\n")), "\r\n\r\n"...)
	n, known := length(head)
	switch {
	case !known:
		body = bytes.TrimSuffix(bytes.TrimSuffix(body, []byte("\n")), []byte("\r")) // the editor's
	case n <= len(body):
		body = body[:n]
	case n <= len(crlf(body)):
		body = crlf(body)[:n]
	}
	return append(head, body...)
}

// length returns the Content-Length of a header.
func length(head []byte) (int, bool) {
	for line := range strings.SplitSeq(string(head), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if sipx.Canonical(strings.TrimSpace(name)) == "Content-Length" {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31)
			return int(n), err == nil
		}
	}
	return 0, false
}

// sip takes a SIP message.
func (o *offline) sip(in []byte) error {
	msg, err := sipx.Parser(maxInput).ParseSIP(in)
	if err != nil {
		return fmt.Errorf("not a SIP message that can be read, the gateway answers 400: %w", err)
	}
	if res, ok := msg.(*sip.Response); ok {
		return o.response(res)
	}
	req := msg.(*sip.Request)
	err = o.trunk.Judge(req)
	if err == nil && req.Method == sip.OPTIONS {
		o.remark("nothing crosses: the gateway answers OPTIONS itself")
		return nil
	}
	var from, to step.Party
	if err == nil {
		from, to, err = o.sipParties(req)
	}
	if err != nil {
		o.refuseSIP(req, err)
		return nil
	}
	o.req = req
	o.play(step.Request{Tx: "request", Peer: from.URI.Host, From: from, To: to, SIP: req})
	return nil
}

// sipParties names the two users of a request from one who may speak for his
// domain.
func (o *offline) sipParties(req *sip.Request) (from, to step.Party, err error) {
	f, t, err := gateway.Reading{Name: o.name}.Addresses(req, nil)
	if err != nil {
		return from, to, err
	}
	return gateway.OnXMPP(f, t, o.Gateway)
}

// response takes the answer to a message that XMPP has sent.
func (o *offline) response(res *sip.Response) error {
	if err := sipx.CheckResponse(res); err != nil {
		return fmt.Errorf("a response that the gateway drops: %w", err)
	}
	if res.CSeq().MethodName != sip.MESSAGE {
		return fmt.Errorf("the answer to %s, not to MESSAGE", res.CSeq().MethodName)
	}
	if res.IsProvisional() {
		o.remark("nothing crosses: the final answer is waited for")
		return nil
	}
	to, from, err := gateway.OnXMPP(res.To().Address, mapping.WithGRUU(res.From().Address, res.From().Params), o.Gateway)
	if err != nil {
		return fmt.Errorf("who is in From or To has no XMPP address: %w", err)
	}
	m := &xep.Message{From: from.JID, To: to.JID, ID: "message", Bodies: []xep.Text{{Value: "Hark"}}}
	for _, e := range o.talk.Step(o.now(), step.Got{Peer: from.URI.Host, From: from, To: to, Message: m}) {
		if s, ok := e.(step.SendSIP); ok {
			o.play(step.Response{Of: s.Ref, SIP: res})
			o.refused = false // by the other side
			return nil
		}
	}
	return fmt.Errorf("nobody can have sent what this answers")
}

// refuseSIP prints how a request is refused at the door.
func (o *offline) refuseSIP(req *sip.Request, err error) {
	status, reason, fields := mapping.FaultToSIP(err)
	o.req, o.refused = req, true
	o.answer(step.Answer{Status: status, Reason: reason, Header: fields})
	o.remark("refused: " + err.Error())
}

func newOffline(m mapCommand, now time.Time) *offline {
	o := &offline{mapCommand: m, time: now, name: cmp.Or(m.Gateway, "gateway.invalid")}
	o.talk = &talk.Talk{Manners: talk.Manners{
		Chat: m.PagerType == "chat", PlainOnly: !m.XHTML, ClassFour: m.BareJIDErrors == "4xx",
		Plaintext: m.Encrypted == "fallback",
	}}
	o.trunk = drafting(o.name)
	return o
}

// stanza takes a stanza.
func (o *offline) stanza(in []byte) error {
	e, err := xmltree.ParseIn(in, xep.NS, xmltree.Documents)
	switch {
	case err != nil:
		return fmt.Errorf("not XML that may stand in a stream: %w", err)
	case e.Name.Space == "jabber:client":
		return fmt.Errorf("a stanza as clients send it: between servers it has no xmlns='jabber:client'")
	case e.Name.Space != xep.NS || e.Name.Local != "message" && e.Name.Local != "presence" && e.Name.Local != "iq":
		return fmt.Errorf("%s is no stanza", e.Name.Local)
	}
	h, err := xep.HeaderOf(e)
	if err != nil {
		return err
	}
	if h.From.String() == "" || h.To.String() == "" {
		return fmt.Errorf("a stanza between servers has from and to")
	}
	if h.Name != "message" {
		o.remark("nothing crosses: presence is not carried yet, and the gateway answers iq itself")
		return nil
	}
	return o.message(e, h)
}
