package store

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// dial connects to the operator's servers.
func dial(cfg Config) (*nats.Conn, error) {
	log := cfg.Log
	options := []nats.Option{
		nats.Name("cpimgate"), nats.MaxReconnects(-1), nats.ReconnectWait(500 * time.Millisecond), nats.Timeout(5 * time.Second),
		// What could not be sent is sent again by us, and not later by the library.
		nats.ReconnectBufSize(-1), nats.PingInterval(5 * time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { log.Warn("store: connection lost", "err", err) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("store: connected again", "server", nc.ConnectedServerName()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("store", "err", err) }),
	}
	if cfg.Credentials != "" {
		options = append(options, nats.UserCredentials(cfg.Credentials))
	}
	if cfg.CAFile != "" {
		options = append(options, nats.RootCAs(cfg.CAFile))
	}
	nc, err := nats.Connect(cfg.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("store: no NATS server at %s: %w; see store.url", redacted(cfg.URL), err)
	}
	if n := nc.MaxPayload(); n < MaxValue+1<<16 {
		nc.Close()
		return nil, fmt.Errorf("store: the NATS server at %s takes %d bytes at once, we need %d: set max_payload: 8MB in its configuration", redacted(cfg.URL), n, MaxValue+1<<16)
	}
	return nc, nil
}

// redacted returns URLs without passwords.
func redacted(urls string) string {
	list := strings.Split(urls, ",")
	for i, s := range list {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil {
			list[i] = "(not a URL)"
			continue
		}
		list[i] = u.Redacted()
	}
	return strings.Join(list, ",")
}
