package mapping

import (
	"strings"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim"
	"cpimgate/cpim/fault"
	"cpimgate/cpim/imdn"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
)

// envelope takes a CPIM object (RFC 3922, section 4.2): the outermost says who
// sends, the innermost what. Its headers have no image but Subject, DateTime
// and the requests of RFC 5438.
func (r *reader) envelope(p cpim.Part, depth int) error {
	if r.wrapped {
		return unsupported("a CPIM object inside a multipart of another is not supported")
	}
	b, err := p.Decode()
	if err != nil {
		return err
	}
	all, err := cpim.Open(b)
	if err != nil {
		return err
	}
	for _, c := range all {
		if err := understood(c); err != nil {
			return err
		}
	}
	if err := r.authorise(all[0]); err != nil {
		return err
	}
	c := all[len(all)-1]
	r.wrapped, r.in.CPIM = true, true
	for _, s := range c.Subjects {
		r.m.Subjects = append(r.m.Subjects, xep.Text{Lang: s.Lang, Value: strings.TrimSpace(lines(s.Text, " "))})
		r.subjects = true
	}
	if !c.DateTime.IsZero() {
		r.in.Sent = c.DateTime.UTC()
	}
	if !isAnonymous(r.req) {
		r.in.Asked = imdn.RequestOf(c)
	}
	if c.Content.Body == nil {
		return nil
	}
	return r.read(c.Content, depth+1)
}

// understood refuses a CPIM object that requires what we do not map (RFC 3862,
// section 3.5; RFC 3922, section 4.2.7). Its recipient could not know.
func understood(c *cpim.Message) error {
	for _, n := range c.Require {
		switch n.Space {
		case cpim.IMDN, cpim.Space:
		default:
			return unsupported("a required CPIM header is not supported",
				sipx.Warning(399, "", "CPIM Require not supported"))
		}
	}
	return nil
}

// authorise refuses a CPIM object that speaks for another than the sender, or
// to several.
func (r *reader) authorise(c *cpim.Message) error {
	sender, err := r.sender()
	if err != nil {
		return err
	}
	said, err := jidOf(c.From.URI, sender.Domainpart())
	if err != nil {
		return err
	}
	if !said.Bare().Equal(sender.Bare()) {
		return fault.E(fault.Forbidden, "From of the CPIM object is not the sender")
	}
	if len(c.To) == 1 {
		return nil
	}
	for _, a := range c.To {
		if j, err := jidOf(a.URI, r.m.To.Domainpart()); err == nil && r.o.SeveralTo && j.Bare().Equal(r.m.To.Bare()) {
			return nil
		}
	}
	return fault.E(fault.Forbidden, "a CPIM object to several recipients is not delivered")
}

// sender returns the SIP sender as a JID, before any gateway name.
func (r *reader) sender() (jid.JID, error) {
	if !r.o.Sender.Equal(jid.JID{}) {
		return r.o.Sender, nil
	}
	f := r.req.From()
	if f == nil {
		return jid.JID{}, fault.E(fault.Malformed, "request without From")
	}
	j, err := ToJID(f.Address)
	return j, OfSender(err)
}

// jidOf reads an address as a CPIM object has it: of any scheme that names a
// user (RFC 3862, section 1.3). A telephone number belongs to domain.
func jidOf(uri, domain string) (jid.JID, error) {
	scheme, rest, _ := strings.Cut(uri, ":")
	switch strings.ToLower(scheme) {
	case "xmpp":
		return ParseXMPP(uri)
	case "mailto":
		uri = "im:" + rest
	}
	u, err := ParseURI(uri)
	if err == nil && u.Scheme == "tel" {
		u, err = TelToSIP(u, domain)
	}
	if err != nil {
		return jid.JID{}, fault.Wrap(fault.Malformed, err, "address in the CPIM object cannot be read")
	}
	j, err := ToJID(u)
	return j, OfSender(err)
}

// isAnonymous reports whether the sender hides who he is: he cannot be told
// anything (RFC 5438, section 12.1.1).
func isAnonymous(req *sip.Request) bool {
	f := req.From()
	return f == nil || Anonymous(f.Address)
}
