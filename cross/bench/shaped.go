package main

import (
	"net"
	"time"
)

// shaped is a link in this process: a TCP proxy with a rate, a length and one
// modem for all connections, whose buffer they share. (The kernel's netem would
// do the same, where there is one.) TCP itself runs over loopback on both sides:
// what it would lose by starting slowly is not in the picture.
type shaped struct {
	listener net.Listener
	target   string
	up, down chan piece
	delay    time.Duration
	closed   chan struct{}
}

// piece is some bytes on their way.
type piece struct {
	data []byte
	to   chan<- delayed
}

type delayed struct {
	due  time.Time
	data []byte
}

const (
	modemBytes = 64 << 10 // that wait in the modem, each way
	pieceBytes = 8 << 10  // that are sent in one go; less on slow links
	lineMax    = 16 << 10 // pieces under way on the line
)

// newShaped makes a link of bytesPerSecond each way whose round trip is rtt.
func newShaped(target string, bytesPerSecond int, rtt time.Duration) (*shaped, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	size := max(512, min(pieceBytes, bytesPerSecond/100))
	s := &shaped{listener: l, target: target, delay: rtt / 2, closed: make(chan struct{}),
		up: make(chan piece, modemBytes/size), down: make(chan piece, modemBytes/size)}
	go s.modem(s.up, bytesPerSecond)
	go s.modem(s.down, bytesPerSecond)
	go s.accept(size)
	return s, nil
}

func (s *shaped) address() string { return s.listener.Addr().String() }

func (s *shaped) close() {
	s.listener.Close()
	close(s.closed)
}

// modem sends one piece after the other, at its rate. While pieces wait for it,
// one that a busy machine sent late does not make the next one late.
func (s *shaped) modem(queue <-chan piece, bytesPerSecond int) {
	free := time.Now()
	for {
		idle := len(queue) == 0
		select {
		case p := <-queue:
			if now := time.Now(); idle && free.Before(now) {
				free = now
			}
			free = free.Add(time.Duration(len(p.data)) * time.Second / time.Duration(bytesPerSecond))
			time.Sleep(time.Until(free)) // this is the link's speed
			p.to <- delayed{free.Add(s.delay), p.data}
		case <-s.closed:
			return
		}
	}
}

func (s *shaped) accept(size int) {
	for {
		near, err := s.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", s.target)
		if err != nil {
			near.Close()
			continue
		}
		// A socket that swallows megabytes would be a link of its own.
		_ = near.(*net.TCPConn).SetReadBuffer(modemBytes)
		go s.carry(near, far, s.up, size)
		go s.carry(far, near, s.down, size)
	}
}

// carry takes what one side writes to the modem; the line's far end hands it to
// the other when it has travelled.
func (s *shaped) carry(from, to net.Conn, modem chan<- piece, size int) {
	line := make(chan delayed, lineMax)
	go func() {
		for d := range line {
			time.Sleep(time.Until(d.due)) // this is the way's length
			if _, err := to.Write(d.data); err != nil {
				from.Close()
			}
			if len(d.data) == 0 {
				to.Close()
				return
			}
		}
	}()
	for {
		buf := make([]byte, size)
		n, err := from.Read(buf)
		if n > 0 {
			select {
			case modem <- piece{buf[:n], line}:
			case <-s.closed:
				return
			}
		}
		if err != nil {
			select {
			case modem <- piece{nil, line}: // the last
			case <-s.closed:
			}
			return
		}
	}
}
