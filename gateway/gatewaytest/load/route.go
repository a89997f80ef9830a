package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// A route is one direction between two ends.
type route struct {
	name     string
	number   int // from 1; part of user names and ids, so that routes do not meet
	from, to *url.URL
	n        int // messages
}

// routes reads the arguments.
func (o options) routes() ([]route, error) {
	var all []route
	for i, s := range o.Routes {
		f := strings.Fields(s)
		if len(f) < 2 || len(f) > 3 {
			return nil, fmt.Errorf("route %q is not FROM TO [N]", s)
		}
		r := route{number: i + 1, n: o.N}
		var err error
		if r.from, err = end(f[0]); err != nil {
			return nil, err
		}
		if r.to, err = end(f[1]); err != nil {
			return nil, err
		}
		if len(f) == 3 {
			if r.n, err = strconv.Atoi(f[2]); err != nil {
				return nil, err
			}
		}
		r.name = fmt.Sprintf("%d %s %s -> %s %s", r.number, r.from.Scheme, domainOf(r.from), r.to.Scheme, domainOf(r.to))
		all = append(all, r)
	}
	return all, nil
}

// end reads one end. Everything but loopback is refused: this is no tool to
// aim at others.
func end(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, err
	}
	places := []string{u.Host}
	if l := u.Query().Get("listen"); l != "" {
		places = append(places, l)
	}
	for _, p := range places {
		if at, err := netip.ParseAddrPort(p); err != nil || !at.Addr().IsLoopback() {
			return nil, fmt.Errorf("%q: %q is no loopback address and port", s, p)
		}
	}
	return u, nil
}

func domainOf(u *url.URL) string { return strings.Trim(u.Path, "/") }

// A letter is one message on its way.
type letter struct {
	from, to string // addresses, user@domain
	id       string // of the stanza, or the Call-ID
	body     string
}

// A site is an end that is connected: the users of one domain.
type site interface {
	// send carries one message of a user of the site and returns when the next
	// one of the same user may be sent: for SIP with the final answer, for XMPP
	// when it is written. An error says that the user knows of a failure.
	send(ctx context.Context, l letter) error
	close()
}

// A reviver is a site that can come back after its server was away.
type reviver interface {
	// revive returns when all users are there again, connected to the server
	// as it is now.
	revive(ctx context.Context) error
}

// A delivery tells a run what has come for a user of a site: a message, or an
// error about the one with that id.
type delivery func(user, id, body string, err error)

// openSite connects users of an end, given as addresses. What comes in goes to
// got, in order, from goroutines that close waits for.
func openSite(ctx context.Context, u *url.URL, o options, users []string, got delivery) (site, error) {
	conf, err := tlsConfig(u, o.CA)
	if err != nil {
		return nil, err
	}
	kind, transport, _ := strings.Cut(u.Scheme, "+")
	switch kind {
	case "sip":
		return openSIP(ctx, u.Host, transport, conf, o.managed, users, got)
	case "peer":
		return openSIPPeer(ctx, u.Host, u.Query().Get("listen"), transport, conf, got)
	case "xmpp":
		return openXMPP(ctx, u.Host, conf, o.managed, users, got)
	case "s2s":
		return openS2S(ctx, u, conf, got)
	}
	return nil, fmt.Errorf("%q is no kind of end", u.Scheme)
}

// tlsConfig returns the configuration of both roles of an end. The server that
// an end connects to must show a certificate for the end's domain, or for the
// parameter "name" where it has one.
func tlsConfig(u *url.URL, ca string) (*tls.Config, error) {
	conf := &tls.Config{ServerName: cmp.Or(u.Query().Get("name"), domainOf(u)), RootCAs: x509.NewCertPool()}
	if ca != "" {
		b, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		conf.RootCAs.AppendCertsFromPEM(b)
	}
	if cert := u.Query().Get("cert"); cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, u.Query().Get("key"))
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
