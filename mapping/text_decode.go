package mapping

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"
	"golang.org/x/text/encoding/ianaindex"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xmltree"
)

// MaxInflated bounds what a compressed body may grow to.
const MaxInflated = 256 << 10

// decodeText returns a text as XMPP carries it: in UTF-8 (RFC 7572, section 8),
// with lines ended by LF, and U+FFFD for what XML cannot carry. Charsets are
// known by their IANA names; RFC 3922, section 4.2.9, would refuse all but two.
func decodeText(b []byte, charset string) (string, error) {
	switch charset {
	case "", "utf-8", "utf8", "us-ascii":
		if !utf8.Valid(b) {
			return "", fault.E(fault.Malformed, "the text is not in UTF-8")
		}
	default:
		enc, err := ianaindex.MIME.Encoding(charset)
		if err != nil || enc == nil {
			return "", unsupported("the charset of the text is not supported")
		}
		if b, err = enc.NewDecoder().Bytes(b); err != nil {
			return "", fault.Wrap(fault.Malformed, err, "the text is not in its charset")
		}
	}
	text := strings.TrimPrefix(string(b), "\uFEFF")
	return lines(xmltree.Clean(text), "\n"), nil
}

// inflate undoes the Content-Encoding of a body, the last first (RFC 3261,
// section 20.12). The name deflate is used for both of its forms: with the
// zlib header (RFC 1950) and without (RFC 1951).
func inflate(b []byte, encodings []string, limit int) ([]byte, error) {
	if limit <= 0 {
		limit = MaxInflated
	}
	if len(encodings) > 2 {
		return nil, unsupportedEncoding()
	}
	for i := len(encodings) - 1; i >= 0; i-- {
		var r io.Reader
		var err error
		switch strings.ToLower(encodings[i]) {
		case "identity":
			continue
		case "gzip", "x-gzip":
			r, err = gzip.NewReader(bytes.NewReader(b))
		case "deflate":
			if r, err = zlib.NewReader(bytes.NewReader(b)); err != nil {
				r, err = flate.NewReader(bytes.NewReader(b)), nil
			}
		default:
			return nil, unsupportedEncoding()
		}
		if err == nil {
			b, err = io.ReadAll(io.LimitReader(r, int64(limit)+1))
		}
		switch {
		case err != nil:
			return nil, fault.Wrap(fault.Malformed, err, "the body is not encoded as it says")
		case len(b) > limit:
			return nil, fault.E(fault.TooLarge, "the body is over %d bytes", limit)
		}
	}
	return b, nil
}

func unsupportedEncoding() error {
	return sipx.Refuse(sip.StatusUnsupportedMediaType, fault.Unsupported, "the Content-Encoding is not supported",
		sip.NewHeader("Accept-Encoding", "identity, deflate, gzip"))
}
