package nbd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
)

// clientsMax is how many may be connected at once: an emulator needs one.
const clientsMax = 8

// Server gives a card to emulators.
type Server struct {
	card     *Card
	listener net.Listener

	mu      sync.Mutex
	clients map[net.Conn]bool
	closed  bool
	done    chan struct{}
	running sync.WaitGroup
	failure error
}

// Listen serves the card on a unix socket.
func Listen(card *Card, socket string) (*Server, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("nbd: %w", err)
	}
	s := &Server{card: card, listener: l, clients: make(map[net.Conn]bool), done: make(chan struct{})}
	s.running.Go(s.accept)
	return s, nil
}

// Address is what an emulator takes for a disk.
func (s *Server) Address() string { return "nbd+unix:///?socket=" + s.listener.Addr().String() }

// Close lets all clients go. The error is of the first who did not speak NBD.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
		_ = s.listener.Close()
		for conn := range s.clients {
			_ = conn.Close()
		}
	}
	s.mu.Unlock()
	s.running.Wait()
	return s.failure
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		if !s.admit(conn) {
			_ = conn.Close()
			continue
		}
		s.running.Go(func() {
			err := s.serve(conn)
			s.dismiss(conn, err)
		})
	}
}

func (s *Server) admit(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.clients) >= clientsMax {
		return false
	}
	s.clients[conn] = true
	return true
}

// dismiss closes a connection. That it broke off is how emulators are ended.
func (s *Server) dismiss(conn net.Conn, err error) {
	_ = conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, conn)
	if errors.Is(err, ErrProtocol) && s.failure == nil {
		s.failure = fmt.Errorf("nbd: a client: %w", err)
	}
}

// serve speaks with one client until it leaves, one request after the other: so
// a flush covers all that was answered before it.
func (s *Server) serve(conn io.ReadWriter) error {
	in := bufio.NewReaderSize(conn, 64<<10)
	agreed, err := s.negotiate(in, conn)
	if err != nil || !agreed {
		return err
	}
	for {
		q, err := readRequest(in)
		if err != nil || q.command == commandLeave {
			return err
		}
		if err := s.handle(q, in, conn); err != nil {
			return err
		}
	}
}

// negotiate ends when the client has chosen the one export there is, or leaves.
func (s *Server) negotiate(in io.Reader, out io.Writer) (agreed bool, err error) {
	hello := binary.BigEndian.AppendUint64(nil, magicServer)
	hello = binary.BigEndian.AppendUint64(hello, magicOption)
	hello = binary.BigEndian.AppendUint16(hello, flagFixedNewstyle|flagNoZeroes)
	if _, err := out.Write(hello); err != nil {
		return false, err
	}
	var flags [4]byte
	if _, err := io.ReadFull(in, flags[:]); err != nil {
		return false, err
	}
	if f := binary.BigEndian.Uint32(flags[:]); f&^(flagFixedNewstyle|flagNoZeroes) != 0 {
		return false, fmt.Errorf("client flags %#x: %w", f, ErrProtocol)
	}
	for {
		o, err := readOption(in)
		if err != nil {
			return false, err
		}
		switch o.number {
		case optionExportName:
			_, err := out.Write(s.export(binary.BigEndian.Uint32(flags[:])&flagNoZeroes == 0))
			return err == nil, err
		case optionGo, optionInfo:
			if err := s.inform(out, o.number); err != nil {
				return false, err
			}
			if o.number == optionGo {
				return true, nil
			}
		case optionAbort:
			return false, writeAnswer(out, o.number, answerAck, nil)
		default:
			if err := writeAnswer(out, o.number, answerUnsupported, nil); err != nil {
				return false, err
			}
		}
	}
}

// export is the old answer to a client that names its export and goes on.
func (s *Server) export(zeroes bool) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(s.card.Size()))
	b = binary.BigEndian.AppendUint16(b, transmission)
	if zeroes {
		b = append(b, make([]byte, 124)...)
	}
	return b
}

func (s *Server) inform(out io.Writer, number uint32) error {
	info := binary.BigEndian.AppendUint16(nil, infoExport)
	info = binary.BigEndian.AppendUint64(info, uint64(s.card.Size()))
	info = binary.BigEndian.AppendUint16(info, transmission)
	sizes := binary.BigEndian.AppendUint16(nil, infoBlockSize)
	for _, n := range []uint32{sectorBytes, blockBytes, requestBytesMax} { // least, best, most
		sizes = binary.BigEndian.AppendUint32(sizes, n)
	}
	return errors.Join(
		writeAnswer(out, number, answerInfo, info),
		writeAnswer(out, number, answerInfo, sizes),
		writeAnswer(out, number, answerAck, nil))
}

func (s *Server) handle(q request, in io.Reader, out io.Writer) error {
	if q.offset > math.MaxInt64 {
		return fmt.Errorf("request at %d: %w", q.offset, ErrProtocol)
	}
	var data []byte
	if q.command == commandRead || q.command == commandWrite {
		data = make([]byte, q.length)
	}
	code := uint32(0)
	var err error
	switch q.command {
	case commandRead:
		_, err = s.card.ReadAt(data, int64(q.offset))
	case commandWrite:
		if _, err := io.ReadFull(in, data); err != nil {
			return err
		}
		if q.flags&commandFUA != 0 {
			_, err = s.card.WriteThrough(data, int64(q.offset))
		} else {
			_, err = s.card.WriteAt(data, int64(q.offset))
		}
	case commandFlush:
		err = s.card.Sync()
	default:
		code = errorInvalid
	}
	switch {
	case errors.Is(err, ErrCut):
		<-s.done // a card without power says nothing, not even that
		return net.ErrClosed
	case errors.Is(err, ErrRange):
		code = errorInvalid
	case err != nil:
		code = errorIO
	}
	if code != 0 || q.command != commandRead {
		data = nil
	}
	return writeReply(out, q, code, data)
}
