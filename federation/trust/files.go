package trust

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// How often files are looked at, and how long before its end a certificate is
// worth a warning.
const (
	lookEvery = time.Second
	endsSoon  = 14 * 24 * time.Hour
)

// A watched is what was read from some files, and is read again when one of
// them has changed. While the new content is bad the old one serves.
type watched[T any] struct {
	files []string
	load  func() (T, error)

	mu     sync.Mutex
	value  T
	stamp  string    // of the files as they were when read last, well or not
	looked time.Time // when the stamp was taken
}

// first reads the files for the first time.
func (w *watched[T]) first() (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stamp = stamp(w.files)
	w.value, err = w.load()
	return err
}

// get returns the value, after a look at the files if the last one is a second
// ago.
func (w *watched[T]) get(cfg Config) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := cfg.Now()
	if len(w.files) == 0 || now.Sub(w.looked) < lookEvery && !now.Before(w.looked) {
		return w.value
	}
	w.looked = now
	current := stamp(w.files)
	if current == w.stamp {
		return w.value
	}
	w.stamp = current
	value, err := w.load()
	if err != nil {
		cfg.Log.Error("changed files are bad, what was read before stays in use", "files", w.files, "err", err)
		return w.value
	}
	cfg.Log.Info("files read again", "files", w.files)
	w.value = value
	return value
}

// stamp sums up size and time of files.
func stamp(files []string) string {
	var b strings.Builder
	for _, f := range files {
		if fi, err := os.Stat(f); err == nil {
			fmt.Fprintf(&b, "%d %d\n", fi.Size(), fi.ModTime().UnixNano())
		} else {
			b.WriteString("-\n")
		}
	}
	return b.String()
}

// An own is one certificate of ours.
type own struct {
	tls   tls.Certificate // with Leaf
	file  string
	names names
	sip   []string // the domains that it proves on each wire
	xmpp  []string
}

// proves returns the domains that the certificate proves on a wire, wildcards
// left out.
func (o *own) proves(w federation.Wire) []string {
	if w == federation.SIP {
		return o.sip
	}
	return o.xmpp
}

// rank says how well the certificate suits a name: 3 if it proves it on the
// wire, 2 by a wildcard, 1 if it has the name at least.
func (o *own) rank(w federation.Wire, name string) int {
	wild := slices.ContainsFunc(o.names.dns, func(p string) bool { return wildcard(p, name) })
	switch {
	case slices.Contains(o.proves(w), name):
		return 3
	case wild && w == federation.XMPP:
		return 2
	case wild || slices.Contains(o.sip, name) || slices.Contains(o.xmpp, name):
		return 1
	}
	return 0
}

// watchCerts watches the pairs of the configuration.
func (s *Store) watchCerts(files []string) *watched[[]own] {
	return &watched[[]own]{files: files, load: func() ([]own, error) {
		var list []own
		for _, p := range s.cfg.Pairs {
			c, err := tls.LoadX509KeyPair(p.Cert, p.Key)
			if err != nil {
				return nil, fault.Wrap(fault.Internal, err, "certificate %s with key %s", p.Cert, p.Key)
			}
			list = append(list, own{tls: c, file: p.Cert})
		}
		for _, c := range s.cfg.Certs {
			list = append(list, own{tls: c})
		}
		for i := range list {
			if err := list[i].inspect(s.cfg); err != nil {
				return nil, err
			}
		}
		return list, nil
	}}
}

// inspect reads the names of a certificate and warns of its end.
func (o *own) inspect(cfg Config) (err error) {
	if o.tls.Leaf == nil {
		if len(o.tls.Certificate) == 0 {
			return fault.E(fault.Internal, "certificate is empty")
		}
		if o.tls.Leaf, err = x509.ParseCertificate(o.tls.Certificate[0]); err != nil {
			return fault.Wrap(fault.Internal, err, "certificate %s", o.file)
		}
	}
	if o.names, err = namesOf(o.tls.Leaf); err != nil {
		return fault.Wrap(fault.Internal, err, "certificate %s", o.file)
	}
	o.sip, o.xmpp = o.names.domains(federation.SIP), o.names.domains(federation.XMPP)
	if left := o.tls.Leaf.NotAfter.Sub(cfg.Now()); left < endsSoon {
		cfg.Log.Warn("our certificate ends soon", "file", o.file, "names", o.names.all(), "not_after", o.tls.Leaf.NotAfter)
	}
	return nil
}

// choose returns our certificate for a name: one that proves it on the wire
// before one that only has it, and the first of all if none has it; nil if we
// have none. Among equals it takes one that the other end supports.
func (s *Store) choose(w federation.Wire, name string, supports func(*tls.Certificate) error) *tls.Certificate {
	if d, err := federation.Domain(name); err == nil {
		name = d
	}
	list := s.certs.get(s.cfg)
	var best *tls.Certificate
	most := -1
	for i := range list {
		r := 2 * list[i].rank(w, name)
		if supports(&list[i].tls) == nil {
			r++
		}
		if r > most {
			best, most = &list[i].tls, r
		}
	}
	return best
}

// Gaps returns a [Problem] for each domain that we stand for and no certificate
// of ours proves on that wire: peers will refuse us there (RFC 6120, section
// 13.7.1.2; RFC 5922, section 6). One "sip" URI in a certificate is enough to
// make its DNS names count no more on SIP.
func (s *Store) Gaps() []error {
	if s.cfg.Book == nil {
		return nil
	}
	list := s.certs.get(s.cfg)
	var gaps []error
	for _, h := range s.cfg.Book.Homes() {
		for _, name := range []string{h.Domain, h.Gateway} {
			for _, w := range []federation.Wire{federation.SIP, federation.XMPP} {
				good := func(o own) bool { return o.rank(w, name) >= 2 }
				if name == "" || !s.cfg.Book.Stands(w, name) || slices.ContainsFunc(list, good) {
					continue
				}
				p := &Problem{Wire: w, Domain: name, Detail: "we stand for it, and no certificate of ours proves it"}
				p.Advice = fmt.Sprintf("add one under tls: with the DNS name %s; where it has sip: URIs, with sip:%s too", name, name)
				gaps = append(gaps, p.fault(Name))
			}
		}
	}
	return gaps
}

// watchRoots watches a file of authorities, which are added to base if there
// is one.
func watchRoots(file string, base *x509.CertPool) *watched[*x509.CertPool] {
	return &watched[*x509.CertPool]{files: []string{file}, load: func() (*x509.CertPool, error) {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fault.Wrap(fault.Internal, err, "ca_file")
		}
		pool := x509.NewCertPool()
		if base != nil {
			pool = base.Clone()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fault.E(fault.Internal, "ca_file %s holds no certificate in PEM", file)
		}
		return pool, nil
	}}
}

// rootsFor returns the authorities that may speak about a domain.
func (s *Store) rootsFor(domain string) (*x509.CertPool, error) {
	file := s.rules(domain).CAFile
	if file == "" {
		return s.roots.get(s.cfg), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.peers[file]
	if !ok {
		w = watchRoots(file, nil)
		if err := w.first(); err != nil {
			return nil, err
		}
		s.peers[file] = w
	}
	return w.get(s.cfg), nil
}
