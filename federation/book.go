package federation

// A Home is a domain that the gateway stands for.
type Home struct {
	Domain  string
	Users   Wire   // what its people use
	Server  string // SIP or XMPP: where its requests go, as a SIP URI or host:port; "" asks DNS
	Gateway string // of an XMPP home: the name under which SIP users appear to it (D-74), or ""
}

// Rules are what the operator allows one peer domain, inherited keys filled in
// (decision D-73).
type Rules struct {
	Allow    bool
	Security Security
	SIP      string // SIP URI to use instead of DNS, or ""
	XMPP     string // host:port to use instead of DNS, or ""
	CAFile   string // roots for this peer instead of the system's, or ""
}

// A Book is what the operator has written down about domains. Domains are in
// the spelling of [Domain]. A Book may change between two calls (reload).
type Book interface {
	// Home returns the home domain of that name.
	Home(domain string) (Home, bool)

	// Homes returns all home domains, in the order of the configuration.
	Homes() []Home

	// Rules returns what holds for a peer domain. A home domain has rules too:
	// they say what its own server must show.
	Rules(domain string) Rules

	// Stands reports whether, on a wire, requests for users of domain are ours
	// to take from all comers: on XMPP a home whose people use SIP, or the
	// gateway name of one whose people use XMPP, unless they come to it by a
	// component; on SIP a home whose people use XMPP.
	Stands(w Wire, domain string) bool
}
