package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// broker is the far end of a Conn: it reads requests and writes what a test
// wants as answers.
type broker struct {
	t  *testing.T
	nc net.Conn
}

// dialBroker returns a connection that speaks every version and its far end.
// It runs inside a synctest bubble, where nothing waits for real time.
func dialBroker(t *testing.T) (*Conn, *broker) {
	near, far := net.Pipe()
	cfg := (&Config{ClientID: "test"}).withDefaults()
	c := newConn(near, 1, "broker:9092", &cfg)
	c.versions = versions{kmsg.Metadata: 9, kmsg.Produce: 9, kmsg.Fetch: 12}
	t.Cleanup(func() { c.Close(); far.Close(); <-c.Done() })
	return c, &broker{t, far}
}

// request reads one request and returns its correlation id.
func (b *broker) request() int32 {
	var head [12]byte
	if _, err := io.ReadFull(b.nc, head[:]); err != nil {
		b.t.Errorf("reading a request: %v", err)
	}
	rest := make([]byte, binary.BigEndian.Uint32(head[:])-8)
	if _, err := io.ReadFull(b.nc, rest); err != nil {
		b.t.Errorf("reading a request: %v", err)
	}
	return int32(binary.BigEndian.Uint32(head[8:]))
}

func (b *broker) answer(id int32, body []byte) {
	out := binary.BigEndian.AppendUint32(nil, uint32(4+len(body)))
	out = binary.BigEndian.AppendUint32(out, uint32(id))
	b.nc.Write(append(out, body...)) // the other end may have hung up: that is its test
}

// metadata is an answer to a Metadata request that names one cluster.
func metadata(cluster string, throttle int32) []byte {
	resp := kmsg.NewPtrMetadataResponse()
	resp.Version, resp.ClusterID, resp.ThrottleMillis = 9, &cluster, throttle
	return resp.AppendTo([]byte{0}) // no tags in the header
}

func TestConnKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := dialBroker(t)
		const n = 5
		go func() {
			var ids []int32
			for range n { // all of them before the first answer
				ids = append(ids, b.request())
			}
			for i, id := range ids {
				b.answer(id, metadata(string(rune('a'+i)), 0))
			}
		}()
		got := make(chan string, n)
		for range n {
			err := c.Start(kmsg.NewPtrMetadataRequest(), func(r kmsg.Response, err error) {
				if err != nil {
					t.Error(err)
				}
				got <- *r.(*kmsg.MetadataResponse).ClusterID
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		order := ""
		for range n {
			order += <-got
		}
		if order != "abcde" {
			t.Errorf("answers came as %q", order)
		}
	})
}

// TestConnEnds: what is wrong with an answer ends the connection, and every
// request that waits is told, once, in order.
func TestConnEnds(t *testing.T) {
	tests := map[string]struct {
		answer func(b *broker, id int32)
		want   error
		text   string
	}{
		"another correlation id": {func(b *broker, id int32) { b.answer(id+1, metadata("x", 0)) }, ErrProtocol, "answer 2 while 1 (Metadata) is due"},
		"too large": {func(b *broker, id int32) {
			b.nc.Write([]byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1})
		}, ErrProtocol, "at most 1048576 are accepted"},
		"too small":      {func(b *broker, id int32) { b.nc.Write([]byte{0, 0, 0, 3, 0, 0, 0, 1}) }, ErrProtocol, "-1 bytes"},
		"cut short":      {func(b *broker, id int32) { b.answer(id, metadata("cluster", 0)[:9]) }, ErrProtocol, "Metadata"},
		"malformed tags": {func(b *broker, id int32) { b.answer(id, []byte{5, 1, 0x80}) }, ErrProtocol, "tags"},
		"closed":         {func(b *broker, id int32) { b.nc.Close() }, io.ErrUnexpectedEOF, "broker 1 (broker:9092)"},
		"silence":        {func(b *broker, id int32) {}, ErrTimeout, "no answer in time"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, b := dialBroker(t)
				go func() {
					id := b.request()
					b.request()
					tt.answer(b, id)
				}()
				var told []int
				var first error
				for i := range 2 {
					err := c.Start(kmsg.NewPtrMetadataRequest(), func(_ kmsg.Response, err error) {
						if told = append(told, i); first == nil {
							first = err
						}
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				<-c.Done()
				if !errors.Is(first, tt.want) || !strings.Contains(first.Error(), tt.text) {
					t.Errorf("error %v, want %v that says %q", first, tt.want, tt.text)
				}
				if len(told) != 2 || told[0] != 0 {
					t.Errorf("told %v, want 0 and 1", told)
				}
				if err := c.Start(kmsg.NewPtrMetadataRequest(), func(kmsg.Response, error) { t.Error("done was called") }); !errors.Is(err, tt.want) {
					t.Errorf("a later Start says %v", err)
				}
			})
		})
	}
}

func TestConnUnaskedAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := dialBroker(t)
		go b.answer(1, metadata("x", 0))
		<-c.Done()
		if !errors.Is(c.Err(), ErrProtocol) {
			t.Errorf("ended with %v", c.Err())
		}
	})
}

// TestConnIdle: silence is wrong only while an answer is due.
func TestConnIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := dialBroker(t)
		go func() {
			for {
				var head [4]byte
				if _, err := io.ReadFull(b.nc, head[:]); err != nil {
					return
				}
				rest := make([]byte, binary.BigEndian.Uint32(head[:]))
				io.ReadFull(b.nc, rest)
				b.answer(int32(binary.BigEndian.Uint32(rest[4:])), metadata("x", 0))
			}
		}()
		for range 2 {
			if _, err := c.Do(t.Context(), kmsg.NewPtrMetadataRequest()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * RequestTimeoutDefault)
		}
	})
}

func TestConnThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := dialBroker(t)
		go func() {
			b.answer(b.request(), metadata("x", 2000))
			b.answer(b.request(), metadata("x", 3600_000))
		}()
		start := time.Now()
		for range 2 {
			if _, err := c.Do(t.Context(), kmsg.NewPtrMetadataRequest()); err != nil {
				t.Fatal(err)
			}
		}
		if waited := time.Since(start); waited != 2*time.Second {
			t.Errorf("waited %v for 2 s of throttle", waited)
		}
		if c.Throttled() != ThrottleMax {
			t.Errorf("an hour of throttle is taken as %v, want %v", c.Throttled(), ThrottleMax)
		}
	})
}

func TestConnContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := dialBroker(t)
		go b.request() // and no answer
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Do(ctx, kmsg.NewPtrMetadataRequest()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for an answer: %v", err)
		}
		// Nobody reads: the write itself is stuck.
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := c.Do(ctx, kmsg.NewPtrMetadataRequest()); err == nil || time.Since(start) > time.Second {
			t.Errorf("a stuck write ended after %v with %v", time.Since(start), err)
		}
	})
}

func TestSkipTags(t *testing.T) {
	for in, want := range map[string]string{
		"\x00rest":               "rest",
		"\x01\x05\x02abrest":     "rest",
		"\x02\x00\x00\x01\x01xR": "R",
	} {
		got, err := skipTags([]byte(in))
		if err != nil || string(got) != want {
			t.Errorf("skipTags(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "\x01", "\x01\x00\x05abc", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"} {
		if got, err := skipTags([]byte(in)); err == nil {
			t.Errorf("skipTags(%q) = %q, want an error", in, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(int16(3), metadata("cluster", 1))
	f.Add(int16(0), []byte{0, 2, 2, 't', 2, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, key int16, body []byte) {
		span, ok := spoken[kmsg.Key(key)]
		if !ok {
			return
		}
		for version := span.Min; version <= span.Max; version++ {
			resp := kmsg.ResponseForKey(key)
			resp.SetVersion(version)
			if decode(resp, body) != nil {
				continue
			}
			if m, ok := resp.(*kmsg.MetadataResponse); ok {
				readMetadata(m)
			}
		}
	})
}
