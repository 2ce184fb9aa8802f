package mqtt

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// halfPipe is a connection in memory whose one side may be closed.
type halfPipe struct{ net.Conn }

func (halfPipe) CloseWrite() error { return nil }

// TestLinger: a client that still sends is read on, so that it gets the last word;
// neither for ever, nor for long before it is known who it is.
func TestLinger(t *testing.T) {
	const pause = lingerTime * 3 / 4
	for _, c := range []struct {
		name  string
		sends int // bytes, one after each pause
		limit time.Duration
		want  time.Duration
	}{
		{"silent", 0, lingerMax, lingerTime},
		{"sends on for a while", 4, lingerMax, 4*pause + lingerTime},
		{"sends for ever", 1000, lingerMax, lingerMax},
		{"unknown and silent", 0, lingerTime, lingerTime},
		{"unknown and sends", 1000, lingerTime, lingerTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				var sending sync.WaitGroup
				sending.Go(func() {
					for range c.sends {
						time.Sleep(pause)
						if _, err := far.Write([]byte{0}); err != nil {
							return
						}
					}
				})
				began := time.Now()
				linger(halfPipe{near}, c.limit)
				if took := time.Since(began); took != c.want {
					t.Errorf("read on for %s, want %s", took, c.want)
				}
				near.Close()
				sending.Wait()
			})
		})
	}
}
