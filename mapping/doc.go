// Package mapping says what one world's words mean in the other: one pure
// function for each table of the interworking RFCs, with no I/O, clock, context
// or state. Addresses and errors go by RFC 7247, messages by RFC 7572, and both
// by CPIM underneath (RFC 3860, RFC 3862, RFC 3922).
//
// Addresses follow RFC 7247, section 6, with these differences.
//
//   - All ten sequences of XEP-0106 are escaped and unescaped, where the RFC
//     names three: sip:a%40b@h has no legal JID otherwise (its own rule 3 of
//     section 6.2 asks for it).
//   - An address is refused unless its image leads back to it. PRECIS folds case
//     and width (RFC 8265, section 3.3), and what it folds may meet the escape
//     next to it: sip:%5C%EF%BC%92%EF%BC%90@h and sip:%20@h would both be \20@h.
//     A JID such as a\5cb@h that is nobody's image is refused likewise.
//   - A resource is the "gr" parameter of the URI, inside the angle brackets, with
//     the characters that RFC 3261, section 25.1, allows in a parameter. Section
//     6.5, step 8 of RFC 7247 speaks of a slash, its own example does not.
//   - Domain names, which the RFC leaves out, are A-labels in SIP and U-labels in
//     JIDs (RFC 7622, section 3.2).
//
// Errors follow RFC 7247, section 7, with one: 401 and 407 leave as 403, since
// they need a challenge that nobody here can make (RFC 3261, sections 22.2 and
// 22.3).
package mapping
