// Package admin is what an operator watches: health and metrics over HTTP, on
// loopback unless configured otherwise. It shows counts and domains, never a
// message or a user; and to loopback only, where the time and the memory go
// (net/http/pprof).
package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A Status is what the gateway knows about itself. Its methods may be called
// from any goroutine.
type Status interface {
	// Healthy returns nil when all listeners are open and messages are taken.
	Healthy() error

	// Load returns conversations in memory and events that wait.
	Load() (conversations, events int)

	// Peers returns the number of connections by wire and direction.
	Peers() map[PeerKind]int

	// Components returns which of our components have their stream.
	Components() map[Component]bool

	// Expiry returns when each of our certificates ends, by its first name.
	Expiry() map[string]time.Time
}

// A PeerKind is a class of connections.
type PeerKind struct{ Wire, Direction string }

// A Component is a domain by which we are part of an XMPP server.
type Component struct{ Domain, Server string }

// A Server answers /healthz and /metrics, and on loopback /debug/pprof/.
type Server struct {
	status   Status
	registry *prometheus.Registry
	ended    *prometheus.CounterVec
	ignored  *prometheus.CounterVec
	refused  *prometheus.CounterVec
	policy   *prometheus.CounterVec
}

// New returns a server that has counted nothing.
func New(status Status) *Server {
	s := &Server{
		status:   status,
		registry: prometheus.NewRegistry(),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cpimgate_messages_total",
			Help: "Messages that came to their end, by direction and outcome.",
		}, []string{"way", "outcome"}),
		ignored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cpimgate_ignored_total",
			Help: "Events that needed no answer, by reason.",
		}, []string{"why"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cpimgate_refused_total",
			Help: "Requests and stanzas refused at the entrance, by wire and kind of failure.",
		}, []string{"wire", "kind"}),
		policy: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cpimgate_policy_total",
			Help: "What of these a rule of the operator has refused, by wire and rule: spoofed, not_served, translated, allow, block, per_peer, per_sender, strangers; and what the wires have refused before: spoofed_from, unproved_from, refused_request, refused_stream, refused_connection, dialback_refused.",
		}, []string{"wire", "rule"}),
	}
	s.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		s.ended, s.ignored, s.refused, s.policy, &live{status},
	)
	return s
}

// Ended counts a message that came to its end.
func (s *Server) Ended(way, outcome string) { s.ended.WithLabelValues(way, outcome).Inc() }

// Ignored counts an event that was answered with silence.
func (s *Server) Ignored(why string) { s.ignored.WithLabelValues(why).Inc() }

// Refused counts what the entrance did not let in.
func (s *Server) Refused(wire, kind string) { s.refused.WithLabelValues(wire, kind).Inc() }

// Policy counts what the entrance did not let in because of a rule of the
// operator.
func (s *Server) Policy(wire, rule string) { s.policy.WithLabelValues(wire, rule).Inc() }

// Run serves l until ctx is done.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	if at, err := netip.ParseAddrPort(l.Addr().String()); err == nil && at.Addr().IsLoopback() {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	}
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	if err := s.status.Healthy(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// live is read anew at each scrape.
type live struct{ status Status }

var (
	conversations = prometheus.NewDesc("cpimgate_conversations", "Conversations in memory.", nil, nil)
	events        = prometheus.NewDesc("cpimgate_events_waiting", "Events that wait for a shard.", nil, nil)
	connections   = prometheus.NewDesc("cpimgate_connections", "Connections to peers.", []string{"wire", "direction"}, nil)
	components    = prometheus.NewDesc("cpimgate_component_up", "1 where we are attached to an XMPP server as this component, else 0.", []string{"domain", "server"}, nil)
	expiry        = prometheus.NewDesc("cpimgate_certificate_expiry_seconds", "When each of our certificates ends, in Unix time.", []string{"name"}, nil)
)

// Describe implements prometheus.Collector.
func (l *live) Describe(c chan<- *prometheus.Desc) {
	c <- conversations
	c <- events
	c <- connections
	c <- components
	c <- expiry
}

// Collect implements prometheus.Collector.
func (l *live) Collect(c chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	machines, waiting := l.status.Load()
	gauge(conversations, float64(machines))
	gauge(events, float64(waiting))
	for k, n := range l.status.Peers() {
		gauge(connections, float64(n), k.Wire, k.Direction)
	}
	for k, up := range l.status.Components() {
		value := 0.0
		if up {
			value = 1
		}
		gauge(components, value, k.Domain, k.Server)
	}
	for name, at := range l.status.Expiry() {
		gauge(expiry, float64(at.Unix()), name)
	}
}
