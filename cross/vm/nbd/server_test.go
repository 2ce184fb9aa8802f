package nbd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// client is as much of one as a test needs.
type client struct {
	t      *testing.T
	conn   net.Conn
	cookie uint64
}

func serve(t *testing.T) (*Card, *Server, *client) {
	t.Helper()
	card, _ := newCard(t, testBlocks)
	socket := filepath.Join(t.TempDir(), "s")
	s, err := Listen(card, socket)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	conn, err := net.Dial("unix", socket)
	must(t, err)
	must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	t.Cleanup(func() { conn.Close() })
	return card, s, &client{t: t, conn: conn}
}

func (c *client) send(parts ...any) {
	c.t.Helper()
	var b bytes.Buffer
	for _, p := range parts {
		must(c.t, binary.Write(&b, binary.BigEndian, p))
	}
	_, err := c.conn.Write(b.Bytes())
	must(c.t, err)
}

func (c *client) receive(n int) []byte {
	c.t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(c.conn, b)
	must(c.t, err)
	return b
}

// option sends one and returns the kind of its last answer.
func (c *client) option(number uint32) (kinds []uint32) {
	c.t.Helper()
	c.send(uint64(magicOption), number, uint32(0))
	for {
		head := c.receive(20)
		kind := binary.BigEndian.Uint32(head[12:])
		c.receive(int(binary.BigEndian.Uint32(head[16:])))
		if kinds = append(kinds, kind); kind != answerInfo {
			return kinds
		}
	}
}

func (c *client) begin() {
	c.t.Helper()
	c.receive(18)
	c.send(uint32(flagFixedNewstyle | flagNoZeroes))
	if k := c.option(99); k[0] != answerUnsupported {
		c.t.Fatalf("an option nobody knows was answered with %v", k)
	}
	if k := c.option(optionGo); len(k) != 3 || k[2] != answerAck {
		c.t.Fatalf("GO was answered with %v", k)
	}
}

// ask sends a command and returns the code of its reply.
func (c *client) ask(flags, command uint16, off uint64, n uint32, data []byte) uint32 {
	c.t.Helper()
	c.cookie++
	c.send(uint32(magicRequest), flags, command, c.cookie, off, n, data)
	b := c.receive(16)
	if binary.BigEndian.Uint32(b) != magicReply || binary.BigEndian.Uint64(b[8:]) != c.cookie {
		c.t.Fatalf("reply % x to request %d", b, c.cookie)
	}
	return binary.BigEndian.Uint32(b[4:])
}

func TestServesACard(t *testing.T) {
	card, s, c := serve(t)
	c.begin()
	data := filled(blockBytes, 'x')
	if code := c.ask(0, commandWrite, 512, blockBytes, data); code != 0 {
		t.Fatalf("write: %d", code)
	}
	if code := c.ask(0, commandRead, 512, blockBytes, nil); code != 0 || !bytes.Equal(c.receive(blockBytes), data) {
		t.Fatalf("read: %d, or other bytes than were written", code)
	}
	if len(card.dirty) != 2 {
		t.Errorf("%d blocks in the cache, 2 were touched", len(card.dirty))
	}
	if code := c.ask(0, commandFlush, 0, 0, nil); code != 0 || len(card.dirty) != 0 {
		t.Errorf("flush: %d, %d blocks in the cache", code, len(card.dirty))
	}
	if code := c.ask(commandFUA, commandWrite, 0, 512, data[:512]); code != 0 || len(card.dirty) != 0 {
		t.Errorf("write through: %d, %d blocks in the cache", code, len(card.dirty))
	}
	if code := c.ask(0, commandWrite, testBlocks*blockBytes-1, 2, data[:2]); code != errorInvalid {
		t.Errorf("a write beyond the end: %d", code)
	}
	if code := c.ask(0, 77, 0, 0, nil); code != errorInvalid {
		t.Errorf("a command nobody knows: %d", code)
	}
	c.send(uint32(magicRequest), uint16(0), uint16(commandLeave), uint64(0), uint64(0), uint32(0))
	if _, err := c.conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after leaving: %v", err)
	}
	must(t, s.Close())
}

// A card without power does not say that it has none.
func TestNothingIsAnsweredAfterACut(t *testing.T) {
	card, s, c := serve(t)
	c.begin()
	card.PowerCut(1)
	c.send(uint32(magicRequest), uint16(0), uint16(commandFlush), uint64(1), uint64(0), uint32(0))
	answered := make(chan error, 1)
	go func() {
		_, err := c.conn.Read(make([]byte, 1))
		answered <- err
	}()
	// Only closing ends the wait: had there been an answer, Read had no error.
	must(t, s.Close())
	if err := <-answered; err == nil {
		t.Error("a flush without power was answered")
	}
}

func TestRefusesWhatIsNotNBD(t *testing.T) {
	for name, bad := range map[string][]any{
		"flags":       {uint32(1 << 31)},
		"no option":   {uint32(flagFixedNewstyle), uint64(1), uint64(2)},
		"long option": {uint32(flagFixedNewstyle), uint64(magicOption), uint32(optionGo), uint32(optionBytesMax + 1)},
	} {
		t.Run(name, func(t *testing.T) {
			_, s, c := serve(t)
			c.receive(18)
			c.send(bad...)
			if _, err := c.conn.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the connection stays: %v", err)
			}
			if err := s.Close(); !errors.Is(err, ErrProtocol) {
				t.Errorf("the server says %v", err)
			}
		})
	}
}

// FuzzServe: whatever a client sends, a server ends its connection or answers
// in whole messages. It never panics.
func FuzzServe(f *testing.F) {
	be := binary.BigEndian
	begin := be.AppendUint32(nil, flagFixedNewstyle|flagNoZeroes)
	begin = be.AppendUint32(be.AppendUint32(be.AppendUint64(begin, magicOption), optionGo), 0)
	ask := func(command uint16, off uint64, n uint32) []byte {
		b := be.AppendUint16(be.AppendUint16(be.AppendUint32(nil, magicRequest), 0), command)
		return be.AppendUint32(be.AppendUint64(be.AppendUint64(b, 5), off), n)
	}
	f.Add([]byte{})
	f.Add(begin)
	f.Add(append(bytes.Clone(begin), ask(commandRead, 0, 512)...))
	f.Add(append(append(bytes.Clone(begin), ask(commandWrite, 512, 4)...), "data"...))
	f.Add(append(bytes.Clone(begin), ask(commandFlush, 0, 0)...))
	f.Add(append(bytes.Clone(begin), ask(commandRead, 1<<63, 1<<31)...))
	f.Fuzz(func(t *testing.T, in []byte) {
		card, _ := newCard(t, 4)
		s := &Server{card: card, done: make(chan struct{})}
		var out bytes.Buffer
		err := s.serve(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(in), &out})
		if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrProtocol) {
			return
		}
		t.Errorf("an error that says nothing: %v", err)
	})
}
