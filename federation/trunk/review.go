package trunk

import "slices"

// Review closes the connections of peers to whom the Book, which has changed,
// allows nothing any more. On connections of whom nobody knows it, each request
// is refused for itself.
func (t *Trunk) Review() {
	barred := func(domain string) bool { return !t.cfg.Book.Rules(domain).Allow }
	var out []*stream
	t.mu.Lock()
	for _, s := range t.streams {
		domains := s.names
		if s.domain != "" {
			domains = []string{s.domain}
		}
		if len(domains) > 0 && !slices.ContainsFunc(domains, func(d string) bool { return !barred(d) }) {
			out = append(out, s)
		}
	}
	t.mu.Unlock()
	for _, s := range out {
		t.log.Info("connection closed: not allowed any more", "peer", s.name())
		_ = s.Close()
	}
}
