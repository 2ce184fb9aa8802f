package agent

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"cistern/gossip/metadata"
)

// Positions are told in lots that fit into a change, and what was told is
// forgotten, but not what has come since.
func TestUntoldPositions(t *testing.T) {
	c := &cursors{drains: map[metadata.PartitionID]*draining{}}
	if lots := c.untold(); len(lots) != 0 {
		t.Fatalf("%d lots of nothing", len(lots))
	}
	for i := range 3 * metadata.DrainsMax / 2 {
		p := metadata.PartitionID{Stream: "s", Partition: int32(i)}
		c.drains[p] = &draining{duty: duty{leader: 1, epoch: 2}}
	}
	lost := metadata.PartitionID{Stream: "s"}
	for i := range 2 {
		for p := range c.drains {
			c.Put(fmt.Sprintf("drain/%s/%d", p.Stream, p.Partition), make([]byte, 100+i))
		}
	}
	lots, n := c.untold(), 0
	for _, lot := range lots {
		for _, put := range lot {
			if n++; put.Seq != 2 || len(put.Cursor) != 101 || put.LeaderEpoch != 1 || put.Epoch != 2 {
				t.Fatalf("%+v", put)
			}
		}
		if len(lot) > metadata.DrainsMax {
			t.Errorf("%d in a lot", len(lot))
		}
	}
	if n != len(c.drains) || len(lots) != 2 {
		t.Fatalf("%d of %d, in %d lots", n, len(c.drains), len(lots))
	}
	c.Put("drain/s/0", []byte("newer"))
	for _, lot := range lots {
		c.forget(lot)
	}
	left := c.untold()
	if len(left) != 1 || len(left[0]) != 1 || left[0][0].Partition != lost || left[0][0].Seq != 3 || string(c.Get("drain/s/0")) != "newer" {
		t.Fatalf("%+v", left)
	}
	for p := range c.drains {
		c.drains[p].latest = make([]byte, 4096)
	}
	for _, lot := range c.untold() {
		if size := len(lot) * 4096; size > putBytesMax {
			t.Errorf("%d bytes in a lot", size)
		}
	}
	c.end(lost)
	if c.Put("drain/s/0", []byte("late")); c.PutSync("drain/s/0", nil) == nil || c.drains[lost] != nil {
		t.Error("a drain that has ended still keeps cursors")
	}
}

// What is left at a stop is told once, and goes on waiting when it can't be.
func TestTellingAllPositions(t *testing.T) {
	p := metadata.PartitionID{Stream: "s"}
	c := &cursors{drains: map[metadata.PartitionID]*draining{p: {}}}
	c.Put("drain/s/0", []byte("at"))
	told := 0
	for _, err := range []error{errors.New("no majority"), nil, nil} {
		c.tellAll(t.Context(), func(_ context.Context, puts []metadata.PutDrain) error {
			if told++; len(puts) != 1 || puts[0].Partition != p || string(puts[0].Cursor) != "at" {
				t.Errorf("%+v", puts)
			}
			return err
		})
	}
	if told != 2 {
		t.Errorf("told %d times", told)
	}
}

// What is left when drains become quiet is told soon, and then nothing more until
// there is something. However often they become quiet, positions are not told more
// than once each interval on the whole.
func TestWhenPositionsAreTold(t *testing.T) {
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		puts func(at time.Duration) bool
		want func(told []time.Duration) bool
	}{
		"never": {func(time.Duration) bool { return false }, func(told []time.Duration) bool { return len(told) == 0 }},
		"busy for 100 s": {func(at time.Duration) bool { return at < 100*time.Second },
			func(told []time.Duration) bool { return len(told) == 1 && told[0] == 99*time.Second+cursorQuiet }},
		"busy for 400 s": {func(at time.Duration) bool { return at < 400*time.Second },
			func(told []time.Duration) bool {
				return len(told) == 2 && told[0] == cursorInterval && told[1] == 399*time.Second+cursorQuiet
			}},
		"always busy": {func(time.Duration) bool { return true },
			func(told []time.Duration) bool { return len(told) == int(day/cursorInterval)-1 }},
		"again and again": {func(at time.Duration) bool { return at%(15*time.Second) == 0 },
			func(told []time.Duration) bool { return len(told) <= int(day/cursorInterval) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCursors(nil)
				p := metadata.PartitionID{Stream: "s"}
				c.drains[p] = &draining{}
				var told []time.Duration
				for at := time.Duration(0); at < day; at += time.Second {
					if test.puts(at) {
						c.Put("drain/s/0", []byte("at"))
					}
					if c.isTime(time.Now()) {
						c.tellAll(t.Context(), func(context.Context, []metadata.PutDrain) error {
							told = append(told, at)
							return nil
						})
					}
					time.Sleep(time.Second)
				}
				if !test.want(told) {
					t.Errorf("told %d times, first after %v", len(told), told[:min(3, len(told))])
				}
			})
		})
	}
}
