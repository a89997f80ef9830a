package config

import (
	"maps"
	"reflect"
	"slices"
	"sync/atomic"

	"cpimgate/federation"
)

// A Live is the configuration in force. It is a [federation.Book] that changes
// when the operator has the file read again, between two calls and never within
// one.
type Live struct{ now atomic.Pointer[Config] }

var _ federation.Book = (*Live)(nil)

// NewLive returns a Live with c in force.
func NewLive(c *Config) *Live {
	l := &Live{}
	l.Set(c)
	return l
}

// Settings returns what is in force now. It is not changed: who needs two
// settings that fit together asks once.
func (l *Live) Settings() *Config { return l.now.Load() }

// Set puts c in force.
func (l *Live) Set(c *Config) { l.now.Store(c) }

// Peer returns what holds for a peer domain now.
func (l *Live) Peer(domain string) Peer { return l.Settings().Peer(domain) }

// Credentials returns with what to answer a peer domain that challenges us.
func (l *Live) Credentials(domain, realm string) (user, password string, ok bool) {
	return l.Settings().Credentials(domain, realm)
}

// Attached reports whether the users of home see domain by a component.
func (l *Live) Attached(home, domain string) bool { return l.Settings().Attached(home, domain) }

// Home implements [federation.Book].
func (l *Live) Home(domain string) (federation.Home, bool) { return l.Settings().Home(domain) }

// Homes implements [federation.Book].
func (l *Live) Homes() []federation.Home { return l.Settings().Homes() }

// Rules implements [federation.Book].
func (l *Live) Rules(domain string) federation.Rules { return l.Settings().Rules(domain) }

// Stands implements [federation.Book].
func (l *Live) Stands(w federation.Wire, domain string) bool { return l.Settings().Stands(w, domain) }

// Diff names the settings in which two configurations differ, by their keys
// such as "limits.per_peer" or "peers.lab.example": those that change in a
// running gateway, and those that need a restart.
func Diff(old, new *Config) (live, restart []string) {
	d := &difference{}
	d.fields("", false, reflect.ValueOf(*old), reflect.ValueOf(*new))
	slices.Sort(d.live)
	slices.Sort(d.restart)
	return d.live, d.restart
}

type difference struct{ live, restart []string }

// fields compares two structs by the fields that stand in the file.
func (d *difference) fields(prefix string, live bool, old, new reflect.Value) {
	for i := range old.NumField() {
		f := old.Type().Field(i)
		key := f.Tag.Get("yaml")
		if key == "" {
			continue
		}
		d.values(prefix+key, live || f.Tag.Get("reload") == "yes", old.Field(i), new.Field(i))
	}
}

// values compares two values. A section is told by its keys, a map by its
// entries, and all else is one setting.
func (d *difference) values(key string, live bool, old, new reflect.Value) {
	switch {
	case old.Kind() == reflect.Struct:
		d.fields(key+".", live, old, new)
	case old.Kind() == reflect.Map:
		names := map[string]bool{}
		for _, m := range []reflect.Value{old, new} {
			for _, k := range m.MapKeys() {
				names[k.String()] = true
			}
		}
		for name := range maps.Keys(names) {
			k := reflect.ValueOf(name)
			if a, b := old.MapIndex(k), new.MapIndex(k); !a.IsValid() || !b.IsValid() || !same(a, b) {
				d.add(key+"."+name, live)
			}
		}
	case !same(old, new):
		d.add(key, live)
	}
}

func same(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

func (d *difference) add(key string, live bool) {
	if live {
		d.live = append(d.live, key)
	} else {
		d.restart = append(d.restart, key)
	}
}
