// Package gateway is the border element itself: the entrances for both wires,
// who may write to whom, and the doing of what machines decide. This comment
// is the living design of cpimgate.
//
// # What it is
//
// cpimgate stands at a domain's edge. People of a SIP/SIMPLE domain and people
// of an XMPP domain write to each other through it as if the border were not
// there. A stanza or request comes in as a value with a verified peer, is
// admitted, mapped by a pure function, and goes out; whatever must be
// remembered is a machine that is told what happened and answers what to do.
//
// # The path
//
//	bytes ─► federation ─Handler─► gateway ──admit──┬─ answer at once ──────────────► federation ─► bytes
//	         s2s  trunk            ServeSIP         └─ shard ─► Machine.Step ─► effects ─► gateway ─► federation
//	                               ServeStanza                     uses mapping
//
// Three shapes and no fourth: a handler answers what needs no yesterday
// (OPTIONS, disco, version); a machine is all else, pager messages included; a
// pump moves the bytes of sessions and files (not here yet). Package federation
// and those below it know who and how, package mapping knows what it means;
// they never see each other. The test deps_test.go holds the import graph.
//
// # The rooms
//
//	cmd/cpimgate              the one binary: flags and wiring
//	cpim                      Message/CPIM (RFC 3862) and MIME parts
//	cpim/fault                kinds of failure: a text safe to send, a cause to log
//	cpim/xmltree              XML as a tree, and the one gate through which it comes in
//	cpim/imdn, cpim/composing one document format each (RFC 5438, RFC 3994)
//	cpim/xep                  stanzas as values, with the payloads that mean something to SIP
//	cpim/sipx                 what sipgo lacks: checked headers, checks of what comes in
//	mapping                   SIP ⇄ XMPP: one pure function per table of the RFCs
//	federation                peers, proofs, targets, limits: the words of the wires
//	federation/locate         DNS to targets (RFC 3263, RFC 6120, RFC 3861)
//	federation/trust          whose certificate is it (RFC 5922, RFC 6120, RFC 9525)
//	federation/s2s            XMPP streams
//	federation/trunk          SIP over UDP, TCP and TLS
//	gateway                   entrances, addresses of both parties, doing of effects
//	gateway/config            the operator's file
//	gateway/policy            how much one may say
//	gateway/step              the vocabulary of machines
//	gateway/shard             the loops that run them
//	gateway/store             records that survive a restart, over NATS JetStream
//	gateway/talk              the pager conversation of two users
//	gateway/admin             health and metrics
//	gateway/probe             why a domain cannot be reached
//	gateway/gatewaytest       small real domains, scenes, real peers, load
//	testdata                  vectors, scenes, the requirement ledger and its checker
//
// # Answers are true
//
// A SIP MESSAGE is answered 200 when the stanza was written to an
// authenticated stream and no error came back within the error window: 300 ms
// unless error_window says otherwise, and none at all for a recipient known to exist, who has written to us, sent a
// receipt, or taken a message without a bounce in the last day (decision D-66).
// An error in the window is its image by RFC 7247, section 7.1. Every MESSAGE
// has its final answer within 20 s: at the deadline a stanza that still waits
// for its stream is withdrawn and answered 504, one already written is answered
// 200 (D-70). Nothing is answered 202 before there is a store.
//
// An XMPP message whose SIP request fails comes back as a stanza error. What is
// refused after we have said yes has no transaction left: it becomes an IMDN if
// one was asked for, else it is counted.
//
// An XMPP server that has us as a component (XEP-0114) acknowledges nothing: what
// it has taken is known when it answers a ping that was sent behind it.
//
// Two users who both use SIP, in domains on either side of us, have a machine of
// their own (talk.Border): nothing is mapped, the same promises hold. A foreign
// domain that a SIP user writes to is asked by DNS which protocol it speaks
// (routes.go); who asks for one domain is answered in order. So is one that an
// XMPP user writes to under a gateway name. A component is the operator's word
// that its domain speaks SIP, and so is what its users have written.
//
// # Who speaks for whom
//
// Between domains a connection proves the one that it speaks for. Over a
// component the XMPP server speaks for the homes that name it, and for nobody
// else whom we serve: those whom it relays it has verified, and they hear that
// they are not served (xmpp.go). A component's name is no domain that we take
// streams for, and a stanza in the name of one is forged.
//
// Words that have crossed from one protocol to the other are known for five
// minutes (loops.go): SIP counts hops and XMPP does not, so that nothing else
// would stop two gateways that point at each other.
//
// # Machines
//
// A machine does no I/O and reads no clock. It is a value whose exported fields
// are all that it remembers; timers are fields, and its Deadline is computed
// from them. A shard is a goroutine that owns the machines of its places, so
// both directions of a pair of users stay in order without a lock. Everything
// is volatile until the store exists: a restart loses what was pending, and
// says so to those who still wait (SIGTERM answers them 503).
//
// # Scenes
//
// A story in testdata/talk is played three ways: by the machine alone, by a
// whole gateway in a bubble of testing/synctest, and by the program over
// sockets. Both wires and the gateway have their sockets from a
// [federation.Net], so that the second way differs from the third in nothing but
// that and the clock. What a way cannot play is in one list, with the reason
// (gatewaytest/scenes_test.go).
//
// # Where this has moved on from the first design, and why
//
//   - cpim/xmltree is a tree of our own and not one over etree: stanzas and
//     documents come through the same gate with the same limits, and a name must
//     carry its namespace, not a prefix. cpim/xep therefore imports it.
//   - step.Response carries our own failures as a fault, not as a status with a
//     mark: the fault's face is chosen where the two faces are known.
//   - gateway/step and gateway/talk import federation for one word, How: what
//     became of a stanza is the wire's to say and the machine's to hear.
//     cpim/imdn imports cpim, whose envelope its headers stand in.
//   - step.End is an effect of its own: the one log line and count of each
//     message, with the ids of both sides, is decided by the machine that knows
//     them.
//   - The faces of our failures stand in mapping (faults.go), because machines
//     build error stanzas and answers themselves and may not import gateway.
//   - cpim/fault has a tenth kind, Flood: over a rate is told otherwise than
//     over a resource (RFC 6120, section 13.12).
//   - gateway/config imports gateway/policy: an entry of the block list is checked
//     by the code that compares it, so that a mistake has its line and column.
//   - The configuration is handed down as a [config.Live], which a reload
//     changes; a conversation is told the manners of the moment before its next
//     event (reload.go), so that no machine must be looked for.
//   - Over TCP and TLS the transactions that are no INVITE are the trunk's own:
//     RFC 3261 gives them no timers there, and sipgo's goroutine, context and
//     timer for each message took a fifth of the CPU of a message.
//   - A shard forgets idle machines when it is full, oldest first: what they
//     remember until there is a store is a courtesy, memory is not.
package gateway
