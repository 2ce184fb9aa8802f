package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// progress tells how an update goes: a line for each step and, on a terminal, one
// that moves while a file is sent.
type progress struct {
	out, meter io.Writer
	terminal   bool
}

func newProgress(c *cobra.Command) *progress {
	w := c.ErrOrStderr()
	return &progress{out: c.OutOrStdout(), meter: w, terminal: onTerminal(w)}
}

func (p *progress) say(format string, args ...any) {
	fmt.Fprintf(p.out, format+"\n", args...)
}

// sending is how far one file is.
type sending struct {
	*progress
	name string
	all  int64

	mu      sync.Mutex
	ended   bool
	last    time.Time
	quarter int64 // told last, where there is no terminal
}

// sent tells that n bytes have left for the gateway. What still leaves after the
// gateway has answered is nobody's news.
func (s *sending) sent(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	if !s.terminal {
		if q := 4 * n / s.all; q > s.quarter {
			s.quarter = q
			s.say("%s: %d %% sent", s.name, 25*q)
		}
		return
	}
	if now := time.Now(); now.Sub(s.last) >= progressEvery || n == s.all {
		s.last = now
		word := fmt.Sprintf("%d %% of %s sent", 100*n/s.all, humanBytes(s.all))
		if n == s.all {
			word = "all sent; it verifies what it wrote"
		}
		fmt.Fprintf(s.meter, "\r%s: %s\x1b[K", s.name, word)
	}
}

// end takes the line that moves away.
func (s *sending) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.terminal {
		fmt.Fprint(s.meter, "\r\x1b[K")
	}
}
