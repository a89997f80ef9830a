package xmltree

import (
	"bufio"
	"errors"
	"io"
)

// counter counts the bytes of one element and fails at the limit. What a
// bufio.Reader has is looked at, and taken from it when the element is over:
// the decoder reads one byte at a time.
type counter struct {
	r      io.ByteReader
	buf    *bufio.Reader // r, if it is one
	ahead  []byte        // what buf has
	used   int           // of ahead
	n, max int
	peeked bool // next was read and not yet returned
	next   byte
	spaced bool // white space was skipped before it
}

// settle takes from the reader what has been used.
func (c *counter) settle() {
	if c.buf != nil {
		_, _ = c.buf.Discard(c.used) // it has them
		c.ahead, c.used = nil, 0
	}
}

// read returns the next byte, uncounted.
func (c *counter) read() (byte, error) {
	if c.used == len(c.ahead) {
		if c.buf == nil {
			return c.r.ReadByte()
		}
		c.settle()
		if _, err := c.buf.Peek(1); err != nil {
			return 0, err
		}
		c.ahead, _ = c.buf.Peek(c.buf.Buffered())
	}
	b := c.ahead[c.used]
	c.used++
	return b, nil
}

var errTooLarge = errors.New("too large")

// skipSpace starts the count anew at the next byte that is not white space.
// White space keeps a connection alive for as long as it may be (RFC 6120,
// section 4.6.1): it must not add up.
func (c *counter) skipSpace() error {
	c.n, c.spaced = 0, false
	for ; ; c.spaced = true {
		b, err := c.read()
		if err != nil {
			return err
		}
		if !isSpace(b) {
			c.peeked, c.next = true, b
			return nil
		}
	}
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\r' || b == '\n' }

func (c *counter) ReadByte() (byte, error) {
	if c.used < len(c.ahead) && c.n < c.max && !c.peeked { // nearly always
		b := c.ahead[c.used]
		c.used++
		c.n++
		return b, nil
	}
	if c.peeked {
		c.peeked = false
		c.n++
		return c.next, nil
	}
	if c.max > 0 && c.n >= c.max {
		return 0, errTooLarge
	}
	b, err := c.read()
	if err == nil {
		c.n++
	}
	return b, err
}

// Read is never called by a decoder that has a ByteReader; it completes
// io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := c.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}
