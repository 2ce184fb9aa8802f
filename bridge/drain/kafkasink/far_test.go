package kafkasink

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"cistern/bridge/drain"
)

// TestRoundTrip fills a pipeline over a way of 300 ms: five batches cost
// little more than one.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	const rtt = 300 * time.Millisecond
	c := newCentral(t)
	stream := c.name("far")
	c.create(stream, 1)
	log := newLog(stream, 0).fill(t, 1, 10)
	var s setup
	s.sink.Client.Dial = delayed(rtt / 2)
	g := c.gateway(s, log)
	g.drained(log) // the first batch goes alone
	// The first of an idle session and a rewind cost a round trip each; one at a time
	// would take 20. The machine may stand still, but not each time.
	const most, fills = 8 * rtt, 5
	took := most + 1
	for n := 0; n < fills && took > most; n++ {
		start := time.Now()
		log.fill(t, 20, 10)
		g.drained(log)
		took = time.Since(start)
		t.Logf("20 batches in %v", took)
	}
	g.stop()
	if took > most {
		t.Errorf("20 batches took %v, a pipeline of %d needs about %v", took, drain.InFlightMax, 4*rtt)
	}
	c.expect(stream, 0, log.id, offsets(0, log.HighWatermark()))
}

// delayed dials connections whose every piece arrives later, each way.
func delayed(d time.Duration) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		near, far := net.Pipe()
		go relay(nc, far, d)
		go relay(far, nc, d)
		return near, nil
	}
}

type piece struct {
	due  time.Time
	data []byte
}

func relay(to, from net.Conn, d time.Duration) {
	pieces := make(chan piece, 1024)
	go func() {
		defer to.Close()
		for p := range pieces {
			time.Sleep(time.Until(p.due)) // this is the way's length
			if _, err := to.Write(p.data); err != nil {
				return
			}
		}
	}()
	defer close(pieces)
	for {
		buf := make([]byte, 64<<10)
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		pieces <- piece{time.Now().Add(d), buf[:n]}
	}
}

// TestManyPartitions shares the smallest buffer among many backlogs.
func TestManyPartitions(t *testing.T) {
	t.Parallel()
	c := newCentral(t)
	stream := c.name("many")
	c.create(stream, 8)
	var logs []*memLog
	for p := range int32(48) {
		logs = append(logs, newLog(stream, p).fill(t, 30, 3))
	}
	g := c.gateway(setup{buffer: drain.BufferBytesMin}, logs...)
	g.until("all is drained within the buffer", func(s drain.Status) bool {
		if s.BufferBytes > s.BufferBytesMax {
			t.Fatalf("%d bytes of %d in buffers", s.BufferBytes, s.BufferBytesMax)
		}
		return !slices.ContainsFunc(s.Partitions, func(p drain.PartitionStatus) bool { return p.Lag > 0 })
	})
	if s := g.drainer.Status(); s.BufferBytes != 0 {
		t.Errorf("%d bytes are still claimed when all is drained", s.BufferBytes)
	}
	g.stop()
	for p := range int32(8) {
		var sharing []*memLog
		for _, l := range logs {
			if l.id.Partition%8 == p {
				sharing = append(sharing, l)
			}
		}
		c.expectEach(stream, p, "many partitions", sharing...)
	}
}
