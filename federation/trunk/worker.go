package trunk

// maxFree is how many goroutines wait for another request to carry.
const maxFree = 64

// employ has f done as [Trunk.spawn] does, on a goroutine that has done the
// like before, if one is free: its stack has grown already. The caller holds
// t.mu.
func (t *Trunk) employ(f func()) bool {
	select {
	case t.jobs <- f:
		return true
	default:
		return t.spawn(func() { t.labour(f) })
	}
}

// labour does one job after another, until there are enough who wait for one.
func (t *Trunk) labour(f func()) {
	for {
		f()
		t.mu.Lock()
		if t.free == maxFree {
			t.mu.Unlock()
			return
		}
		t.free++
		t.mu.Unlock()
		over := false
		select {
		case f = <-t.jobs:
		case <-t.ctx.Done():
			over = true
		}
		t.mu.Lock()
		t.free--
		t.mu.Unlock()
		if over {
			return
		}
	}
}
