package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Load is who publishes how much.
type Load struct {
	Address string
	// Addresses, when there are any, are those of several servers: the clients
	// take them in turn, and Address means nothing.
	Addresses []string
	Clients   int
	InFlight  int // messages of one client without PUBACK
	Size      int // bytes of a payload
	// Rate is messages per second and client; 0 is as fast as PUBACKs come.
	Rate     float64
	Warmup   time.Duration
	Duration time.Duration
	// Measured, when not nil, is called when the warm-up is over and again
	// when the measurement is, to read the server's own counters.
	Measured func()
}

// Result is what the clients saw between warm-up and end.
type Result struct {
	Messages  int64
	Elapsed   time.Duration
	latencies []time.Duration // sorted
}

// PerSecond is the confirmed messages per second.
func (r Result) PerSecond() float64 { return float64(r.Messages) / r.Elapsed.Seconds() }

// Percentile returns the time to PUBACK that p percent of messages kept.
func (r Result) Percentile(p int) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	return r.latencies[(len(r.latencies)-1)*p/100]
}

// payloadsPerClient is how many different payloads one client has.
const payloadsPerClient = 512

// Run connects every client, publishes, and returns what was measured.
func Run(ctx context.Context, l Load) (Result, error) {
	clients := make([]*client, 0, l.Clients)
	defer func() {
		for _, c := range clients {
			c.conn.Close()
		}
	}()
	for i := range l.Clients {
		id := fmt.Sprintf("load-%d", i)
		c, err := connect(l.address(i), id, fmt.Sprintf("plant/line%d/press%d", i%8, i), l.InFlight, Records(i, payloadsPerClient, l.Size))
		if err != nil {
			return Result{}, err
		}
		clients = append(clients, c)
	}

	from := time.Now().Add(l.Warmup)
	until := from.Add(l.Duration)
	var (
		running sync.WaitGroup
		each    = make([][]time.Duration, l.Clients)
		failed  = make([]error, l.Clients)
	)
	for i, c := range clients {
		running.Go(func() {
			if l.Rate > 0 {
				offset := time.Duration(float64(time.Second) / l.Rate * float64(i) / float64(l.Clients))
				each[i], failed[i] = c.paced(l.Rate, offset, from, until)
			} else {
				each[i], failed[i] = c.closed(from, until)
			}
		})
	}
	r := Result{}
	start := l.at(ctx, from)
	r.Elapsed = l.at(ctx, until).Sub(start)
	running.Wait()
	r.latencies = slices.Concat(each...)
	slices.Sort(r.latencies)
	r.Messages = int64(len(r.latencies))
	return r, errors.Join(append(failed, ctx.Err())...)
}

func (l Load) address(client int) string {
	if n := len(l.Addresses); n > 0 {
		return l.Addresses[client%n]
	}
	return l.Address
}

// at waits for a time and reads the server's counters then.
func (l Load) at(ctx context.Context, when time.Time) time.Time {
	select {
	case <-time.After(time.Until(when)):
	case <-ctx.Done():
	}
	if l.Measured != nil {
		l.Measured()
	}
	return time.Now()
}

// closed keeps the window full: for every PUBACK the next PUBLISH.
func (c *client) closed(from, until time.Time) ([]time.Duration, error) {
	var took []time.Duration
	ids := make([]uint16, 0, len(c.sent))
	for id := 1; id < len(c.sent); id++ {
		ids = append(ids, uint16(id))
	}
	for now := time.Now(); now.Before(until); {
		for _, id := range ids {
			c.queue(id, now)
		}
		if err := c.flush(); err != nil {
			return took, err
		}
		var err error
		if ids, err = c.acks(ids[:0]); err != nil {
			return took, err
		}
		now = time.Now()
		for _, id := range ids {
			d := c.took(id, now)
			if now.After(from) && !now.After(until) {
				took = append(took, d)
			}
		}
	}
	return took, nil
}

// paced publishes one message each 1/rate seconds and waits for its PUBACK;
// a message that is due while another is in flight goes out as soon as it can,
// and its time counts from when it was due.
func (c *client) paced(rate float64, offset time.Duration, from, until time.Time) ([]time.Duration, error) {
	var took []time.Duration
	interval := time.Duration(float64(time.Second) / rate)
	for due := time.Now().Add(offset); due.Before(until); due = due.Add(interval) {
		time.Sleep(time.Until(due))
		c.queue(1, due)
		if err := c.flush(); err != nil {
			return took, err
		}
		if _, err := c.acks(nil); err != nil {
			return took, err
		}
		d := c.took(1, time.Now())
		if due.After(from) {
			took = append(took, d)
		}
	}
	return took, nil
}
