package cpim

import (
	"bytes"
	"strings"

	"cpimgate/cpim/fault"
)

// MaxParts is how many parts a multipart may have.
const MaxParts = 100

// Split returns the parts of a multipart, each with its bytes as they came (RFC
// 2046, section 5.1.1). Preamble and epilogue are dropped. Where the closing
// delimiter is missing the data end the last part, as RFC 5438, section 8.3,
// prints it.
func (p Part) Split() ([]Part, error) {
	boundary := p.Media().Params["boundary"]
	if boundary == "" {
		return nil, fault.E(fault.Malformed, "multipart without a boundary")
	}
	body, err := p.Decode()
	if err != nil {
		return nil, err
	}
	var parts []Part
	start := -1 // where the part begins that is being read
	for at := 0; at < len(body); {
		line, _, _ := bytes.Cut(body[at:], []byte("\n"))
		next := min(at+len(line)+1, len(body))
		is, last := delimits(string(line), boundary)
		if is {
			if start >= 0 {
				parts = append(parts, ParsePart(cutLineEnd(body[start:at])))
			}
			start = next
			if last {
				return parts, nil
			}
			if len(parts) >= MaxParts {
				return nil, fault.E(fault.TooLarge, "multipart of more than %d parts", MaxParts)
			}
		}
		at = next
	}
	if start < 0 {
		return nil, fault.E(fault.Malformed, "multipart without its boundary")
	}
	if start < len(body) {
		parts = append(parts, ParsePart(body[start:]))
	}
	return parts, nil
}

// delimits reports whether a line is a delimiter, and whether the closing one.
func delimits(line, boundary string) (is, last bool) {
	rest, ok := strings.CutPrefix(line, "--"+boundary)
	if !ok {
		return false, false
	}
	rest, last = strings.CutPrefix(rest, "--")
	return strings.Trim(rest, " \t\r") == "", last
}

// cutLineEnd removes the line end that belongs to the delimiter after it.
func cutLineEnd(b []byte) []byte {
	b = bytes.TrimSuffix(b, []byte("\n"))
	return bytes.TrimSuffix(b, []byte("\r"))
}
