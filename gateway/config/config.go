// Package config is what an operator writes: one YAML file, short, strict, with
// defaults that are right. Every error carries file, line and column, and says
// what to write instead. The comments of the types are the reference.
package config

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"cpimgate/federation"
)

// A Config is one file, checked. It is not changed after Load.
//
// Fields with the tag reload change in a running gateway (see [Diff]); others
// need a restart.
type Config struct {
	// Domains are the domains that we stand for, by name. At least one.
	Domains map[string]*Domain `yaml:"domains" reload:"yes"`

	// TLS is our certificates: one, or a list of which SNI chooses. The files are
	// read again when they change; their names need a restart.
	TLS Certificates `yaml:"tls"`

	// Peers is what is allowed to whom, by domain: "lab.example", "*.example"
	// for all domains below it, "*" for all. The most specific entry wins, and
	// keys that it lacks come from the next less specific one.
	Peers map[string]*Peer `yaml:"peers" reload:"yes"`

	// Contact is how those who run this gateway are reached, by role, each one URI
	// or a list; servers are told when they ask (XEP-0157). Roles are abuse,
	// admin, feedback, sales, security, status and support. Default none.
	Contact Contact `yaml:"contact" reload:"yes"`

	Policy Policy `yaml:"policy"`
	Listen Listen `yaml:"listen"`
	DNS    DNS    `yaml:"dns"`
	Limits Limits `yaml:"limits"`
	Store  Store  `yaml:"store"`
	Log    Log    `yaml:"log"`

	file        string
	credentials map[string][]credential // by file
	homes       []federation.Home
	book        map[string]federation.Home
	peers       map[string]Peer // Peers with what they inherit; nil where nothing was read
	wild        bool            // there are entries of the form "*.x"
	numbers     string          // the domain that has them
	attachments []Attachment
	warnings    []error
}

// Warnings are what the operator may have meant so, each an *Error with its
// place.
func (c *Config) Warnings() []error { return c.warnings }

// A Domain is one that we stand for.
type Domain struct {
	// Users is what its people use: sip or xmpp.
	Users string `yaml:"users"`

	// Server is where requests for them go: for sip a URI such as
	// "sip:proxy.example.com;transport=tls", for xmpp "host:port". Default: DNS.
	// A SIP server named here speaks for the domain (decision D-72).
	Server string `yaml:"server"`

	// Gateway is the name under which SIP users appear to an XMPP domain,
	// romeo\40sip.example@GATEWAY. Needed where users are xmpp, unless there are
	// components for all SIP domains that they write to.
	Gateway string `yaml:"gateway"`

	// Components are the SIP domains that an XMPP domain sees under their own
	// names, and the gateway name if that is not to be found by DNS: for each its
	// server takes us as a component (XEP-0114; decision D-74).
	Components map[string]*Component `yaml:"components"`

	// Numbers makes telephone numbers people of this domain: tel:+1-415-555-0100 is
	// +14155550100 here. One domain may have it; without, tel: is refused.
	Numbers bool `yaml:"numbers"`
}

// Certificates is a list that may be written as its only element.
type Certificates []Certificate

// A Certificate is a chain and its key, PEM, read again when a file changes.
type Certificate struct {
	Cert string `yaml:"cert"` // file; relative to the configuration
	Key  string `yaml:"key"`  // file; relative to the configuration
}

// A Peer is what is allowed to one peer domain, or to many. A key that is left
// out is inherited, last from the defaults named here.
type Peer struct {
	Allow    *bool                `yaml:"allow"`    // default true
	Security *federation.Security `yaml:"security"` // required (default), dialback-ok, plain-ok
	SIP      string               `yaml:"sip"`      // URI to use instead of DNS
	XMPP     string               `yaml:"xmpp"`     // host:port to use instead of DNS
	CAFile   string               `yaml:"ca_file"`  // roots instead of the system's

	// CredentialsFile has lines "realm user password", for a SIP peer that asks
	// for a password. It is read with the configuration.
	CredentialsFile string `yaml:"credentials_file"`

	// PagerSize is the largest SIP MESSAGE in bytes that we send; over 1300
	// only where every hop is congestion-safe (RFC 3428, section 8). At most
	// 204800. Default 1300.
	PagerSize *int `yaml:"pager_size"`

	// PagerType is the type of message stanzas made from SIP: normal (default,
	// RFC 7572, section 5) or chat, for clients that hide the former.
	PagerType *string `yaml:"pager_type"`

	// BareJIDErrors is the class of SIP errors about a bare JID: 6xx (default,
	// RFC 7247, section 7.1) or 4xx, which lets a proxy try other devices.
	BareJIDErrors *string `yaml:"bare_jid_errors"`

	// Encrypted is what to do with messages that only the receiver's client
	// could read: refuse (default) or fallback, the text that came beside.
	Encrypted *string `yaml:"encrypted"`

	// ErrorWindow is how long the answer to a SIP message waits for an error, once
	// its stanza was sent to a user of this domain who is not known to exist.
	// Longer for domains that are slow to say so; 10ms to 15s. Default 300ms.
	ErrorWindow *time.Duration `yaml:"error_window"`

	XHTML     *bool `yaml:"xhtml"`     // formatted text to XMPP; default true
	Reactions *bool `yaml:"reactions"` // as text to SIP; default true
	SIPS      *bool `yaml:"sips"`      // take sips: URIs by agreement; default false
}

// Listen is where we listen. Addresses are "host:port", ":port" or "off".
type Listen struct {
	Name  string  `yaml:"name"`  // host name shown in Via and Warning; default: the machine's
	SIP   Address `yaml:"sip"`   // UDP and TCP; default :5060
	SIPS  Address `yaml:"sips"`  // TLS; default :5061
	XMPP  Address `yaml:"xmpp"`  // STARTTLS; default :5269
	XMPPS Address `yaml:"xmpps"` // direct TLS; default :5270
	Admin Address `yaml:"admin"` // HTTP; default 127.0.0.1:9580
}

// An Address is a listening address; "" is off.
type Address string

// DNS is how domains are found.
type DNS struct {
	Resolvers []string `yaml:"resolvers"` // "address:port"; default: the system's
}

// Policy says who may not write at all.
type Policy struct {
	// Block lists senders whose messages are refused, on both wires, as if whom
	// they write to did not exist: a domain "spam.example", all domains below one
	// "*.bad.example", a user "tybalt@spam.example". Default none.
	Block []string `yaml:"block" reload:"yes"`
}

// Limits keep one peer from starving the others.
type Limits struct {
	PerSender   float64       `yaml:"per_sender" reload:"yes"` // messages a second from one user; default 20
	PerPeer     float64       `yaml:"per_peer" reload:"yes"`   // messages a second from one domain; default 1000
	Strangers   float64       `yaml:"strangers" reload:"yes"`  // first messages a minute from one user to others who have never written to him; default 120
	Message     int           `yaml:"message"`                 // bytes of one SIP message or stanza; default 262144
	Connections int           `yaml:"connections"`             // of each wire; default 10000
	PerAddress  int           `yaml:"per_address"`             // connections of each wire from one address; default 100
	Queue       int           `yaml:"queue"`                   // messages that wait for one peer; default 1000
	Idle        time.Duration `yaml:"idle"`                    // before an unused connection is closed; default 30m
}

// Log says what is logged, to standard error.
type Log struct {
	Level  slog.Level `yaml:"level" reload:"yes"` // debug, info (default), warn, error
	Format string     `yaml:"format"`             // text (default) or json
}

// UnmarshalYAML reads one certificate or a list.
func (c *Certificates) UnmarshalYAML(n ast.Node) error {
	if n.Type() == ast.SequenceType {
		var list []Certificate
		if err := yaml.NodeToValue(n, &list, yaml.Strict()); err != nil {
			return err
		}
		*c = list
		return nil
	}
	var one Certificate
	if err := yaml.NodeToValue(n, &one, yaml.Strict()); err != nil {
		return err
	}
	*c = Certificates{one}
	return nil
}

// defaults returns what holds where the file says nothing.
func defaults() *Config {
	return &Config{
		Listen: Listen{SIP: ":5060", SIPS: ":5061", XMPP: ":5269", XMPPS: ":5270", Admin: "127.0.0.1:9580"},
		Limits: Limits{
			PerSender: 20, PerPeer: 1000, Strangers: 120, Message: 256 << 10,
			Connections: 10_000, PerAddress: 100, Queue: 1000, Idle: 30 * time.Minute,
		},
		Store: Store{Sync: time.Second},
		Log:   Log{Format: "text"},
	}
}

// An Error is a mistake in the file.
type Error struct {
	File         string
	Line, Column int
	Text         string
}

// Error returns file:line:column: text.
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Text)
}
