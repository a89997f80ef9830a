package gateway

import (
	"context"
	"sync"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation/locate"
)

// routes finds out which protocol a foreign domain speaks, for those who speak
// SIP: the same protocol wins over conversion (RFC 7247, section 5). Who asks
// for one domain is answered in the order of asking, so that what one user says
// to another stays in order while the DNS is slow.
type routes struct {
	speaks func(ctx context.Context, domain string) (locate.Speech, error)
	limit  int // of those who wait for one domain

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before open and after
	waiting map[string][]answer
	found   map[string]verdict // lately, at most maxDomains
	work    sync.WaitGroup     // one goroutine for each domain in waiting; Run waits for it
}

// A verdict is what was found out about a domain, and until when nobody asks
// again. That is the least that the locator remembers anything, so no verdict
// outlives its records by more than that (RES-04).
type verdict struct {
	speech locate.Speech
	err    error
	until  time.Time
}

const verdictHolds = time.Second

// An answer is told what a domain speaks, or why there is nothing to tell.
type answer func(locate.Speech, error)

// maxDomains is how many domains may be asked for at a time.
const maxDomains = 1000

// open lets ask work, before anybody can ask; Run with the same context follows.
func (r *routes) open(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ctx = ctx
}

// Run ends the work of ask when ctx is done, and returns when all have been
// answered.
func (r *routes) Run(ctx context.Context) error {
	<-ctx.Done()
	r.mu.Lock()
	r.ctx = nil
	r.mu.Unlock()
	r.work.Wait()
	return nil
}

// ask has then told how a domain is reached: at once if that was found out just
// now, else on another goroutine. It does not block.
func (r *routes) ask(domain string, then answer) error {
	r.mu.Lock()
	queue, busy := r.waiting[domain]
	if v, ok := r.found[domain]; ok && !busy && time.Now().Before(v.until) {
		r.mu.Unlock()
		then(v.speech, v.err)
		return nil
	}
	defer r.mu.Unlock()
	if r.ctx == nil || len(queue) >= r.limit || !busy && len(r.waiting) >= maxDomains {
		return fault.E(fault.Busy, "too many messages at once")
	}
	r.waiting[domain] = append(queue, then)
	if !busy {
		ctx := r.ctx
		r.work.Go(func() { r.find(ctx, domain) })
	}
	return nil
}

// find answers those who wait for a domain, until nobody does. The locator
// remembers what it has found.
func (r *routes) find(ctx context.Context, domain string) {
	for {
		r.mu.Lock()
		queue := r.waiting[domain]
		if len(queue) == 0 {
			delete(r.waiting, domain)
			r.mu.Unlock()
			return
		}
		r.waiting[domain] = queue[:0:0]
		r.mu.Unlock()
		speech, err := r.speaks(ctx, domain)
		r.remember(domain, verdict{speech, err, time.Now().Add(verdictHolds)})
		for _, then := range queue {
			then(speech, err)
		}
	}
}

// forget has the next who asks get an answer by the settings of now.
func (r *routes) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.found)
}

func (r *routes) remember(domain string, v verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.found) >= maxDomains {
		clear(r.found)
	}
	r.found[domain] = v
}
