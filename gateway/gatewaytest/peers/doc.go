// Package peers runs servers and clients that are not ours, so that tests can
// let the gateway meet them: Prosody, ejabberd, Kamailio, baresip,
// linphone, go-sendxmpp, mcabber and sipsak, and the gateway's own binary
// beside them.
//
// A [Net] is a small internet on the loopback interface: a DNS zone of
// `.example` names, served on port 53 of one of its addresses, a certificate
// authority, and an address for every peer, so that each of them has its
// default ports. Programs run in a mount namespace whose resolv.conf names that
// zone and in a process namespace that dies with the test; both need root.
// Whether a peer is ready is always asked of the peer, never guessed from time
// passed.
//
// What is missing on the machine fails the test that needs it.
package peers
