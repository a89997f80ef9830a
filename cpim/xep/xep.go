// Package xep holds whole XMPP stanzas as values: the addressing that all have
// in common, and messages with the payloads that mean something to SIP
// (RFC 6120, section 8; RFC 6121; the XEPs named at each field). A stanza here
// is never a stream: it was read whole and is written whole.
package xep

// The namespaces that we read or write.
const (
	NS          = "jabber:server" // of a stanza and its own children
	NSStanzas   = "urn:ietf:params:xml:ns:xmpp-stanzas"
	NSXHTMLIM   = "http://jabber.org/protocol/xhtml-im"
	NSXHTML     = "http://www.w3.org/1999/xhtml"
	NSStates    = "http://jabber.org/protocol/chatstates"
	NSNick      = "http://jabber.org/protocol/nick"
	NSDelay     = "urn:xmpp:delay"
	NSE2E       = "urn:ietf:params:xml:ns:xmpp-e2e"
	NSReceipts  = "urn:xmpp:receipts"
	NSMarkers   = "urn:xmpp:chat-markers:0"
	NSOOB       = "jabber:x:oob"
	NSSID       = "urn:xmpp:sid:0"
	NSReplace   = "urn:xmpp:message-correct:0"
	NSReply     = "urn:xmpp:reply:0"
	NSFallback  = "urn:xmpp:fallback:0"
	NSReactions = "urn:xmpp:reactions:0"
	NSAttention = "urn:xmpp:attention:0"
	NSEvent     = "http://jabber.org/protocol/pubsub#event"
	NSRetract   = "urn:xmpp:message-retract:1"
	NSRetract0  = "urn:xmpp:message-retract:0"
	NSFasten    = "urn:xmpp:fasten:0"
	NSEME       = "urn:xmpp:eme:0"
	NSSFS       = "urn:xmpp:sfs:0"
	NSFile      = "urn:xmpp:file:metadata:0"
	NSURLData   = "http://jabber.org/protocol/url-data"
	NSReference = "urn:xmpp:reference:0"
	NSSIMS      = "urn:xmpp:sims:1"
	NSAddresses = "http://jabber.org/protocol/address"
)
