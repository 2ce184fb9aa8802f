package mqttsink

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"
)

// suspicion remembers, over connections, which messages were under way when one
// ended, and how often one that was alone ended it.
type suspicion struct {
	now    func() time.Time
	poison time.Duration

	mu       sync.Mutex
	suspects map[key]*suspect
	partial  map[key]int64 // batches that failed: the offset behind what has arrived
}

// suspect is what was under way of one count.
type suspect struct {
	until   int64 // the last offset that was under way
	at      int64 // the message that was alone, -1: none
	strikes int   // connections that it ended, in a row
	first   time.Time
	latest  time.Time
}

// opened is what was under way of a parcel.
type opened struct {
	key  key
	last int64 // offset
}

func (s *suspicion) init(now func() time.Time) {
	s.now = now
	s.suspects, s.partial = map[key]*suspect{}, map[key]int64{}
}

// careful reports whether messages have to go alone.
func (s *suspicion) careful() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, u := range s.suspects {
		if s.now().Sub(u.latest) < SuspectTime {
			return true
		}
		delete(s.suspects, k)
	}
	return false
}

// struck reports whether a message is about to be proven poison.
func (s *suspicion) struck() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.suspects {
		if u.strikes > 0 {
			return true
		}
	}
	return false
}

func (s *suspicion) strikesOf(k key) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.suspects[k]; u != nil {
		return u.strikes
	}
	return 0
}

// acknowledged clears whom it can.
func (s *suspicion) acknowledged(k key, offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.suspects[k]
	switch {
	case u == nil:
	case offset >= u.until:
		delete(s.suspects, k)
	case offset >= u.at:
		u.at, u.strikes = -1, 0
	}
}

// unreachable says that connecting has failed: a broker that can't be reached
// proves nothing about messages.
func (s *suspicion) unreachable() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.suspects {
		u.at, u.strikes = -1, 0
	}
}

// verdict is a message that was proven to be refused.
type verdict struct {
	key     key
	offset  int64
	strikes int
	over    time.Duration
}

func (v verdict) err(cause error) error {
	return fmt.Errorf("the broker closed the connection %d times in a row, over %s, on the record at offset %d alone (too large, or a topic it forbids?): %w",
		v.strikes, v.over.Round(time.Second), v.offset, cause)
}

// interrupted takes in what was under way when a connection ended by cause; alone
// says that it was one message. It reports the one that is proven to be refused.
func (s *suspicion) interrupted(open []opened, alone bool, cause error) (verdict, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for _, o := range open {
		u := s.suspects[o.key]
		if u == nil {
			u = &suspect{at: -1}
			s.suspects[o.key] = u
		}
		u.until, u.latest = max(u.until, o.last), now
		if !alone || !byPeer(cause) {
			continue
		}
		if u.at != o.last {
			u.at, u.strikes, u.first = o.last, 0, now
		}
		u.strikes++
		if over := now.Sub(u.first); u.strikes >= PoisonStrikes && over >= s.poison {
			return verdict{o.key, o.last, u.strikes, over}, true
		}
	}
	return verdict{}, false
}

// byPeer reports whether the other side has ended a connection.
func byPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// remember notes how much of a batch has arrived, when it failed.
func (s *suspicion) remember(k key, base, arrived int64, failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !failed:
		delete(s.partial, k)
	case arrived > base:
		s.partial[k] = max(s.partial[k], arrived)
	}
}

// arrived returns the first offset of a batch that has to be sent.
func (s *suspicion) arrived(k key, base int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(base, s.partial[k])
}
