package trunk

import (
	"bytes"
	"strconv"

	"cpimgate/cpim/fault"
)

var blank = []byte("\r\n\r\n")

// frame returns the length of the first message in b, which may be more than
// there is yet, and 0 while its header is not whole (RFC 3261, sections 7.5 and
// 18.3). On a stream a Content-Length
// that is missing, doubled or odd leaves no boundary to go on from: an error.
// In a datagram it may be missing.
func frame(b []byte, datagram bool, limit int) (int, error) {
	head := bytes.Index(b, blank)
	if head < 0 {
		if len(b) > limit {
			return 0, fault.E(fault.TooLarge, "header over %d octets", limit)
		}
		return 0, nil
	}
	length, ok, err := contentLength(b[:head])
	switch {
	case err != nil:
		return 0, err
	case !ok && datagram:
		return len(b), nil
	case !ok:
		return 0, fault.E(fault.Malformed, "no Content-Length")
	}
	n := head + len(blank) + length
	if n > limit {
		return 0, fault.E(fault.TooLarge, "message over %d octets", limit)
	}
	return n, nil
}

// contentLength finds the one Content-Length in a header. A folded one is
// refused: sipgo and we must not read two different numbers.
func contentLength(head []byte) (n int, found bool, err error) {
	last := false
	for line := range bytes.SplitSeq(head, blank[:2]) {
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			if last {
				return 0, false, fault.E(fault.Malformed, "folded Content-Length")
			}
			continue
		}
		if len(line) == 0 || line[0]|0x20 != 'c' && line[0]|0x20 != 'l' { // most others
			last = false
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		name = bytes.TrimSpace(name)
		last = bytes.EqualFold(name, []byte("Content-Length")) || bytes.EqualFold(name, []byte("l"))
		if !last {
			continue
		}
		v, perr := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31)
		if perr != nil || found {
			return 0, false, fault.E(fault.Malformed, "bad Content-Length")
		}
		n, found = int(v), true
	}
	return n, found, nil
}
