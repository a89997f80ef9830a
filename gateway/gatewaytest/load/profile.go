package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

// profiles are where a gateway's profiles go: what the CPU does and what is
// allocated while a route is measured, two files for each route.
type profiles struct {
	url, dir string // of its admin listener; "" for none
	route    string
	seconds  int // less than the route takes
}

// profileRate is more messages a second than any route carries.
const profileRate = 16_000

// start begins to profile and returns what waits for the end.
func (p profiles) start(ctx context.Context) func() error {
	if p.dir == "" || p.url == "" {
		return func() error { return nil }
	}
	done := make(chan error)
	kinds := map[string]string{"cpu": "profile", "allocs": "allocs"}
	for name, page := range kinds {
		file := filepath.Join(p.dir, fmt.Sprintf("%s-%s.pprof", p.route, name))
		go func() { // received below
			done <- fetch(ctx, fmt.Sprintf("%s/debug/pprof/%s?seconds=%d", p.url, page, p.seconds), file)
		}()
	}
	return func() (err error) {
		for range kinds {
			err = errors.Join(err, <-done)
		}
		return err
	}
}

// fetch writes what a URL shows into a file.
func fetch(ctx context.Context, url, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}
