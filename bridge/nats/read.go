package nats

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const statusNoResponders = 503

// readLine returns the next line without its end, valid until the next read.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("%w: a line of more than %d bytes", ErrProtocol, LineBytesMax)
	}
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// read takes what the server sends until the connection fails.
func (c *Conn) read() error {
	for {
		line, err := readLine(c.r)
		if err != nil {
			return err
		}
		verb, rest, _ := strings.Cut(string(line), " ")
		switch verb {
		case "MSG", "HMSG":
			err = c.message(strings.Fields(rest), verb == "HMSG")
		case "PING":
			select {
			case c.pongs <- struct{}{}:
			default:
			}
		case "PONG", "+OK":
		case "INFO":
			err = c.inform(rest)
		case "-ERR":
			err = c.complain(refusal(rest))
		default:
			err = fmt.Errorf("%w: unknown %.20q", ErrProtocol, verb)
		}
		if err != nil {
			return err
		}
	}
}

func (c *Conn) inform(text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := json.Unmarshal([]byte(text), &c.info); err != nil {
		return fmt.Errorf("%w: INFO: %w", ErrProtocol, err)
	}
	return nil
}

// complain tells a missing permission to whom it concerns: the connection lasts,
// but no answer will come. Any other error ends the connection.
func (c *Conn) complain(err error) error {
	if !errors.Is(err, ErrPermission) {
		return err
	}
	var concerned []pending
	c.mu.Lock()
	for token, p := range c.pending {
		if strings.Contains(err.Error(), `"`+p.subject+`"`) {
			concerned = append(concerned, p)
			delete(c.pending, token)
		}
	}
	c.mu.Unlock()
	for _, p := range concerned {
		p.answer(Msg{}, err)
	}
	if len(concerned) == 0 && strings.Contains(err.Error(), c.inbox) {
		return err // without answers nothing can be known
	}
	return nil
}

// message reads a message, whose line has the given fields: subject, sid, reply
// (or not), length of the headers (or not), length of all.
func (c *Conn) message(fields []string, headers bool) error {
	lengths := 1
	if headers {
		lengths = 2
	}
	if n := len(fields) - lengths; n != 2 && n != 3 {
		return fmt.Errorf("%w: a message line of %d fields", ErrProtocol, len(fields))
	}
	total, err := strconv.ParseUint(fields[len(fields)-1], 10, 31)
	if err != nil || total > AnswerBytesMax {
		return fmt.Errorf("%w: a message of %.20s bytes, at most %d are taken", ErrProtocol, fields[len(fields)-1], AnswerBytesMax)
	}
	var head uint64
	if headers {
		if head, err = strconv.ParseUint(fields[len(fields)-2], 10, 31); err != nil || head > total {
			return fmt.Errorf("%w: headers of %.20s bytes in a message of %d", ErrProtocol, fields[len(fields)-2], total)
		}
	}
	body := make([]byte, total+2)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return err
	}
	if string(body[total:]) != "\r\n" {
		return fmt.Errorf("%w: a message does not end where it should", ErrProtocol)
	}
	m := Msg{Data: body[head:total:total]}
	if headers {
		if m.Header, m.Status, err = ParseHeader(body[:head]); err != nil {
			return err
		}
	}
	token, ours := strings.CutPrefix(fields[0], c.inbox)
	p, known := c.take(token)
	switch {
	case !ours || !known: // came too late
	case m.Status == statusNoResponders && len(m.Data) == 0:
		p.answer(Msg{}, fmt.Errorf("%w: %s", ErrNoResponders, p.subject))
	default:
		p.answer(m, nil)
	}
	return nil
}
