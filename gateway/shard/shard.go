// Package shard runs machines. A shard is one goroutine that owns the machines
// of its places: it tells them what happened, in order, and has their effects
// done. Machines therefore need no locks, and two events of one pair of users
// never race.
package shard

import (
	"container/heap"
	"container/list"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/gateway/step"
)

// Count is the number of shards. It stands in every name that we hand out, so
// it never changes.
const Count = 256

// An Idler is a machine that can say that nobody waits for it. A shard that is
// full forgets the idle machine that was not told anything for longest.
type Idler interface{ Idle() bool }

// Config says what the machines are and who does what they want.
type Config struct {
	// New makes the machine of a key that has none.
	New func(step.Key) step.Machine

	// Do has one effect done. It is called on the shard's goroutine, in order,
	// and must not block. Ref and Tx in the effect are the machine's own.
	Do func(step.Key, step.Effect)

	// Trace, if not nil, is told of each step.
	Trace func(step.Key, step.Event, []step.Effect)

	Queue    int // events that wait for one shard; 1,000 if zero
	Machines int // machines of one shard before idle ones are forgotten; 4,000 if zero
}

// Shards are all shards of this process.
type Shards struct {
	cfg    Config
	shards [Count]*shard
}

// New returns shards without machines.
func New(cfg Config) *Shards {
	if cfg.Queue == 0 {
		cfg.Queue = 1000
	}
	if cfg.Machines == 0 {
		cfg.Machines = 4000
	}
	s := &Shards{cfg: cfg}
	for i := range s.shards {
		s.shards[i] = &shard{
			cfg:      &s.cfg,
			number:   uint8(i),
			wake:     make(chan struct{}, 1),
			machines: map[step.Key]*list.Element{},
		}
	}
	return s
}

// Post tells a machine of something from outside. It never blocks: where the
// shard has too much to do it returns fault.Busy, and the event has not
// happened.
func (s *Shards) Post(key step.Key, ev step.Event) error {
	sh := s.of(key)
	if !sh.put(key, ev, s.cfg.Queue) {
		return fault.E(fault.Busy, "too many messages at once")
	}
	return nil
}

// Report tells a machine how one of its own effects ended. It never refuses,
// for there is at most one report for each effect in flight.
func (s *Shards) Report(key step.Key, ev step.Event) {
	s.of(key).put(key, ev, 0)
}

// Run steps the machines until ctx is done.
func (s *Shards) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, sh := range s.shards {
		wg.Go(func() { sh.run(ctx) })
	}
	wg.Wait()
	return nil
}

// Load returns the number of machines and of events that wait, or whose effects
// are not done yet.
func (s *Shards) Load() (machines, events int) {
	for _, sh := range s.shards {
		sh.mu.Lock()
		machines += sh.count
		events += len(sh.in) + sh.doing
		sh.mu.Unlock()
	}
	return machines, events
}

func (s *Shards) of(key step.Key) *shard {
	h := fnv.New32a()
	h.Write([]byte(key.Place))
	return s.shards[h.Sum32()%Count]
}

type shard struct {
	cfg      *Config
	number   uint8
	machines map[step.Key]*list.Element // of *entry
	recent   list.List                  // of *entry, the one told last in front
	alarms   alarms
	wake     chan struct{}

	mu    sync.Mutex
	in    []posted
	doing int // events that were taken from in, whose effects are being done
	count int // of machines, for Load
}

type posted struct {
	key step.Key
	ev  step.Event
}

type entry struct {
	key     step.Key
	machine step.Machine
	at      time.Time // when the alarm goes off; zero if there is none
	index   int       // in alarms; -1 if there is none
}

// put adds an event, unless limit events wait already.
func (sh *shard) put(key step.Key, ev step.Event, limit int) bool {
	sh.mu.Lock()
	if limit > 0 && (len(sh.in) >= limit || sh.count >= 2*sh.cfg.Machines) {
		sh.mu.Unlock()
		return false
	}
	sh.in = append(sh.in, posted{key, ev})
	sh.mu.Unlock()
	select {
	case sh.wake <- struct{}{}:
	default:
	}
	return true
}

// maxSpare is how many events a shard has room for while it has nothing to do.
const maxSpare = 64

func (sh *shard) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var set time.Time // when the timer rings
	var batch []posted
	for {
		clear(batch) // what was told is nobody's any more
		if cap(batch) > maxSpare {
			batch = nil
		}
		sh.mu.Lock()
		batch, sh.in = sh.in, batch[:0]
		sh.doing = len(batch)
		sh.count = len(sh.machines)
		sh.mu.Unlock()
		for _, p := range batch {
			sh.tell(p.key, p.ev)
		}
		sh.ring(time.Now())
		if len(batch) > 0 {
			continue
		}
		if len(sh.alarms) > 0 && !sh.alarms[0].at.Equal(set) {
			set = sh.alarms[0].at
			timer.Reset(time.Until(set))
		}
		select {
		case <-ctx.Done():
			return
		case <-sh.wake:
		case <-timer.C:
			set = time.Time{}
		}
	}
}

// ring tells Due to each machine whose deadline has come.
func (sh *shard) ring(now time.Time) {
	for range len(sh.alarms) { // once each, even if a machine wants more
		if sh.alarms.Len() == 0 || sh.alarms[0].at.After(now) {
			return
		}
		e := heap.Pop(&sh.alarms).(*entry)
		e.at = time.Time{}
		if at := e.machine.Deadline(); at.IsZero() || at.After(now) {
			sh.arm(e) // it was put off since the alarm was set
			continue
		}
		sh.step(e, step.Due{})
	}
}

// tell steps the machine of key, and makes it if there is none. A report to a
// machine that is gone is for nobody.
func (sh *shard) tell(key step.Key, ev step.Event) {
	at := sh.machines[key]
	if at == nil {
		switch ev.(type) {
		case step.Response, step.Taken:
			return
		}
		sh.makeRoom()
		at = sh.recent.PushFront(&entry{key: key, machine: sh.cfg.New(key), index: -1})
		sh.machines[key] = at
	}
	sh.recent.MoveToFront(at)
	sh.step(at.Value.(*entry), ev)
}

// makeRoom forgets an idle machine if there are too many. It looks at a few
// only: what it does not find now it finds at the next event, and Post refuses
// before the shard has twice its number.
func (sh *shard) makeRoom() {
	if len(sh.machines) < sh.cfg.Machines {
		return
	}
	at := sh.recent.Back()
	for range 8 {
		if at == nil {
			return
		}
		e := at.Value.(*entry)
		if i, ok := e.machine.(Idler); ok && i.Idle() {
			sh.forget(e)
			return
		}
		at = at.Prev()
	}
}

func (sh *shard) forget(e *entry) {
	sh.recent.Remove(sh.machines[e.key])
	delete(sh.machines, e.key)
	if e.index >= 0 {
		heap.Remove(&sh.alarms, e.index)
	}
}

func (sh *shard) step(e *entry, ev step.Event) {
	effects := e.machine.Step(step.Now{Time: time.Now(), ID: sh.id}, ev)
	if sh.cfg.Trace != nil {
		sh.cfg.Trace(e.key, ev, effects)
	}
	for _, effect := range effects {
		if _, forget := effect.(step.Forget); forget {
			sh.forget(e)
			return
		}
		sh.cfg.Do(e.key, effect)
	}
	sh.arm(e)
}

// arm sets the alarm of e. One that is set already is only ever moved forward:
// a machine that puts its deadline off with every event costs nothing.
func (sh *shard) arm(e *entry) {
	at := e.machine.Deadline()
	switch {
	case at.IsZero():
	case e.index < 0:
		e.at = at
		heap.Push(&sh.alarms, e)
	case at.Before(e.at):
		e.at = at
		heap.Fix(&sh.alarms, e.index)
	}
}

// id returns a name that says where it lives: the shard's number and 96
// random bits, in hexadecimal.
func (sh *shard) id() string {
	var b [13]byte
	b[0] = sh.number
	if _, err := rand.Read(b[1:]); err != nil {
		panic(fmt.Sprintf("no randomness: %v", err)) // never returned since Go 1.24
	}
	var text [2 * len(b)]byte
	hex.Encode(text[:], b[:])
	return string(text[:])
}

// alarms is a heap of the entries that have a deadline, earliest first.
type alarms []*entry

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a alarms) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i, j
}

func (a *alarms) Push(x any) {
	e := x.(*entry)
	e.index = len(*a)
	*a = append(*a, e)
}

func (a *alarms) Pop() any {
	old := *a
	e := old[len(old)-1]
	old[len(old)-1] = nil
	e.index = -1
	*a = old[:len(old)-1]
	return e
}
