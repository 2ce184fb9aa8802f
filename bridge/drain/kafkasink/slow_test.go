package kafkasink

import (
	"context"
	"net"
	"testing"
	"time"

	"cistern/gossip/metadata"
)

// TestSlowLink: a link on which a full request takes longer than a broker may
// stay silent has to be found out, and used all the same.
func TestSlowLink(t *testing.T) {
	t.Parallel()
	c := newCentral(t)
	stream := c.name("slow")
	c.create(stream, 10)
	var logs []*memLog
	for p := range int32(10) {
		l := newLog(stream, p)
		for range 4 {
			l.appendAt(t, 1, metadata.CodecNone, time.Now().UnixMilli(), 60_000)
		}
		logs = append(logs, l)
	}
	// One batch that alone takes longer than that.
	logs[3].appendAt(t, 1, metadata.CodecNone, time.Now().UnixMilli(), 700_000)
	var s setup
	s.sink.Client.RequestTimeout = 250 * time.Millisecond
	s.sink.Client.Dial = slowly(1 << 20)
	g := c.gateway(s, logs...)
	g.drained(logs...)
	g.stop()
	for p, l := range logs {
		got := c.read(stream, int32(p))
		if int64(len(got)) != l.HighWatermark() {
			t.Errorf("partition %d has %d records upstream, want %d", p, len(got), l.HighWatermark())
		}
	}
}

// slowly dials connections that pass so many bytes a second upwards.
func slowly(perSecond int) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		near, far := net.Pipe()
		go relay(far, nc, 0)
		go func() {
			defer nc.Close()
			defer far.Close()
			buf := make([]byte, 4<<10)
			for free := time.Now(); ; {
				n, err := far.Read(buf)
				if err != nil {
					return
				}
				if now := time.Now(); free.Before(now) {
					free = now
				}
				free = free.Add(time.Duration(n) * time.Second / time.Duration(perSecond))
				time.Sleep(time.Until(free)) // the link itself
				if _, err := nc.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
		return near, nil
	}
}
