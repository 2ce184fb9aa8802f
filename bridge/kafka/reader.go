package kafka

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// readAhead is how much one read asks for: many answers to Produce, or the
// beginning of a larger one, which is then read to where it belongs.
const readAhead = 4 << 10

// read is the connection's one reader. It ends with the connection.
func (c *Conn) read() {
	err := c.readAll()
	c.fail(err)
	c.mu.Lock()
	left, why := c.pending, c.err
	c.pending = nil
	c.mu.Unlock()
	for _, p := range left {
		p.done(nil, why)
	}
	close(c.closed)
}

func (c *Conn) readAll() error {
	in := bufio.NewReaderSize(c.nc, readAhead)
	var scratch []byte
	var prefix [8]byte // size, correlation id
	for {
		if _, err := io.ReadFull(in, prefix[:]); err != nil {
			return readError(err)
		}
		p, err := c.oldest()
		if err != nil {
			return err
		}
		name := kmsg.Key(p.resp.Key()).Name()
		size := int64(binary.BigEndian.Uint32(prefix[:])) - 4
		if size < 0 || size > int64(p.sizeMax) {
			return fmt.Errorf("%w: answer to %s says %d bytes, at most %d are accepted", ErrProtocol, name, size, p.sizeMax)
		}
		if id := int32(binary.BigEndian.Uint32(prefix[4:])); id != p.correlation {
			return fmt.Errorf("%w: answer %d while %d (%s) is due", ErrProtocol, id, p.correlation, name)
		}
		body := readBuffer(&scratch, int(size), kmsg.Key(p.resp.Key()))
		if _, err := io.ReadFull(in, body); err != nil {
			return readError(err)
		}
		if err := decode(p.resp, body); err != nil {
			return fmt.Errorf("%w: answer to %s: %w", ErrProtocol, name, err)
		}
		c.pop(p.resp)
		p.done(p.resp, nil)
	}
}

// readBuffer returns memory for an answer. Only answers to Produce share it:
// they come often, and nothing of them is kept as bytes.
func readBuffer(scratch *[]byte, size int, key kmsg.Key) []byte {
	const scratchMax = 16 << 10
	if key != kmsg.Produce || size > scratchMax {
		return make([]byte, size)
	}
	if cap(*scratch) < size {
		*scratch = make([]byte, max(size, 1<<10))
	}
	return (*scratch)[:size]
}

func decode(resp kmsg.Response, body []byte) error {
	if av, ok := resp.(*kmsg.ApiVersionsResponse); ok {
		return readApiVersions(av, body) // its header never carries tags
	}
	if resp.IsFlexible() {
		var err error
		if body, err = skipTags(body); err != nil {
			return err
		}
	}
	if err := checkResponse(resp, body); err != nil {
		return err
	}
	return resp.ReadFrom(body)
}

// skipTags skips the tagged fields of a response header. No such field is
// defined today; a broker that sends some must not confuse us.
func skipTags(b []byte) ([]byte, error) {
	count, n := binary.Uvarint(b)
	for ; n > 0; count-- {
		b = b[n:]
		if count == 0 {
			return b, nil
		}
		_, key := binary.Uvarint(b)
		if key <= 0 {
			break
		}
		size, width := binary.Uvarint(b[key:])
		if width <= 0 || size > uint64(len(b)-key-width) {
			break
		}
		n = key + width + int(size)
	}
	return nil, errors.New("malformed tags")
}

// oldest returns the request that is to be answered next.
func (c *Conn) oldest() (pending, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) == 0 {
		return pending{}, fmt.Errorf("%w: an answer that nobody asked for", ErrProtocol)
	}
	return c.pending[0], nil
}

// pop removes the oldest request, which was answered with resp.
func (c *Conn) pop(resp kmsg.Response) {
	now := time.Now()
	c.answered.Store(now.UnixNano())
	if t, ok := resp.(kmsg.ThrottleResponse); ok {
		if ms, after := t.Throttle(); ms > 0 && after {
			wait := min(time.Duration(ms)*time.Millisecond, ThrottleMax)
			c.throttled.Store(now.Add(wait).UnixNano())
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending[0] = pending{}
	c.pending = c.pending[1:]
	var deadline time.Time // none: an idle connection may stay silent
	if len(c.pending) > 0 {
		deadline = c.pending[0].deadline
	}
	c.nc.SetReadDeadline(deadline)
}

func readError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the broker closed the connection: %w", io.ErrUnexpectedEOF)
	}
	return err
}
