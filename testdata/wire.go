package testdata

import "strings"

// CRLF gives a SIP message or MIME entity that was written down with LF the
// line ends of the wire. Where the text has a body, the last line end belongs
// to the archive and is dropped; without one it ends the empty line after the
// header and stays.
func CRLF(text string) string {
	if _, body, ok := strings.Cut(text, "\n\n"); ok && body != "" {
		text = strings.TrimSuffix(text, "\n")
	}
	return crlf(text)
}

// crlf turns each LF into CRLF.
func crlf(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

// wire returns a section as it is on the wire.
func (c *Case) wire(name string) string {
	text := c.sections[c.index(name)].Text
	switch c.format {
	case msrp:
		return wireMSRP(name, text)
	case simple:
		if k := kindOf(name); k == "sip" || k == "http" {
			return CRLF(text)
		}
		return text
	}
	switch kindOf(name) {
	case "sip", "cpim", "mime":
		return CRLF(text)
	case "msrp":
		return crlf(text)
	case "uri", "jid", "value", "error", "header", "statusline":
		return strings.TrimSuffix(text, "\n")
	}
	return text
}

// wireMSRP applies the line ends of the MSRP format.
func wireMSRP(name, text string) string {
	prefix, kind, _ := strings.Cut(name, ".")
	switch {
	case prefix != "wire" && prefix != "reply", kind == "xml", kind == "script":
		return text
	case kind == "cpim":
		return strings.TrimSuffix(crlf(text), "\r\n")
	}
	return crlf(text)
}

// kindOf returns what a section holds: the name after its last dot.
func kindOf(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }
