package gatewaytest

import (
	"net"
	"sync"
)

// A door is a listener that can be held shut: who connects waits before it, and
// hears nothing.
type door struct {
	net.Listener

	mu    sync.Mutex
	shut  chan struct{} // closed when it opens; nil: it is open
	away  bool          // who has waited was sent away
	knock chan struct{} // closed when somebody waits
}

// hold shuts the door.
func (d *door) hold() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut == nil {
		d.shut, d.knock, d.away = make(chan struct{}), make(chan struct{}), false
	}
}

// open opens the door. Who waits before it comes in, or is sent away.
func (d *door) open(away bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut != nil {
		close(d.shut)
		d.shut, d.away = nil, away
	}
}

// reject sends away who waits before the door, when somebody does, and opens it.
func (d *door) reject() {
	d.mu.Lock()
	knock := d.knock
	d.mu.Unlock()
	if knock != nil {
		<-knock
	}
	d.open(true)
}

// Accept implements [net.Listener].
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil || d.pass() {
			return c, err
		}
		c.Close()
	}
}

// pass waits before the door, and reports whether one may come in.
func (d *door) pass() bool {
	d.mu.Lock()
	shut := d.shut
	if shut != nil {
		close(d.knock)
	}
	d.mu.Unlock()
	if shut == nil {
		return true
	}
	<-shut
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.away
}

// Close implements [net.Listener].
func (d *door) Close() error {
	err := d.Listener.Close()
	d.open(true)
	return err
}
