package kafka

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answerBatchBytes is how much the writer gathers before it writes, and the
// largest buffer that it keeps.
const answerBatchBytes = 64 << 10

// answers is the FIFO between a connection's handlers and its writer: one place
// for each request that was read, in their order. Places are numbered as long
// as the connection lives; places[0] has the number first.
type answers struct {
	placesMax, bytesMax int

	mu     sync.Mutex
	room   sync.Cond // a place became free, or closed
	due    sync.Cond // places[0] was answered, or closed
	places []answer
	first  uint64
	bytes  int       // of the requests in places
	taken  int       // answers that the writer is busy with
	last   time.Time // when it was done with some
	closed bool
}

type answer struct {
	correlation int32
	bytes       int // of the request
	done        bool
	resp        kmsg.Response // nil: none is wanted
}

func (a *answers) init(placesMax, bytesMax int) {
	a.placesMax, a.bytesMax = placesMax, bytesMax
	a.room.L, a.due.L = &a.mu, &a.mu
}

func (a *answers) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.places = nil
	a.room.Broadcast()
	a.due.Broadcast()
}

// quiet reports whether nothing is pending, being written, or was written
// within d.
func (a *answers) quiet(d time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.places) == 0 && a.taken == 0 && time.Since(a.last) >= d
}

// push takes the next place, waiting until there is one and room for the bytes
// of its request; one request is taken whatever its size. It reports false when
// the connection has ended.
func (a *answers) push(correlation int32, bytes int) (number uint64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.closed && len(a.places) > 0 && (len(a.places) >= a.placesMax || a.bytes+bytes > a.bytesMax) {
		a.room.Wait()
	}
	if a.closed {
		return 0, false
	}
	a.places = append(a.places, answer{correlation: correlation, bytes: bytes})
	a.bytes += bytes
	return a.first + uint64(len(a.places)) - 1, true
}

// answer fills a place, with an answer in that version. Only the first counts,
// and none once the connection has ended.
func (a *answers) answer(number uint64, version int16, resp kmsg.Response) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || number < a.first || a.places[number-a.first].done {
		return
	}
	p := &a.places[number-a.first]
	if p.done, p.resp = true, resp; resp != nil {
		resp.SetVersion(version)
	}
	if number == a.first {
		a.due.Signal()
	}
}

// take waits for answers that are due and moves them to dst, at most max; those
// it gave before are written. It reports false when the connection has ended.
func (a *answers) take(dst []answer, max int) ([]answer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.taken, a.last = 0, time.Now()
	for !a.closed && (len(a.places) == 0 || !a.places[0].done) {
		a.due.Wait()
	}
	for len(dst) < max && len(a.places) > 0 && a.places[0].done {
		dst = append(dst, a.places[0])
		a.bytes -= a.places[0].bytes
		a.places[0] = answer{}
		a.places = a.places[1:]
		a.first++
	}
	a.taken = len(dst)
	a.room.Signal()
	return dst, !a.closed
}

// write is the connection's writer: what is due leaves in one write, so that
// many small answers cost one system call and one TLS record.
func (c *ServerConn) write() {
	defer c.end()
	var batch []answer
	var buf []byte
	for {
		var ok bool
		if batch, ok = c.answers.take(batch[:0], c.server.cfg.PendingMax); !ok {
			return
		}
		buf = buf[:0]
		for i := range batch {
			buf = slices.Grow(buf, recordBytes(batch[i].resp))
			buf = appendResponse(buf, batch[i].correlation, batch[i].resp)
			batch[i].resp = nil
			if len(buf) < answerBatchBytes && i < len(batch)-1 {
				continue
			}
			if err := c.send(buf); err != nil {
				c.log.Debug("cannot send answers", "error", err)
				return
			}
			buf = buf[:0]
		}
		if cap(buf) > 2*answerBatchBytes {
			buf = nil
		}
	}
}

func (c *ServerConn) send(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.server.cfg.WriteTimeout)); err != nil {
		return err
	}
	_, err := c.nc.Write(b)
	return err
}

// appendResponse encodes one frame. ApiVersions never has tags in its header,
// so that a client can read the answer to a version that the server lacks.
func appendResponse(dst []byte, correlation int32, resp kmsg.Response) []byte {
	if resp == nil {
		return dst
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlation))
	if resp.IsFlexible() && kmsg.Key(resp.Key()) != kmsg.ApiVersions {
		dst = append(dst, 0)
	}
	dst = resp.AppendTo(dst)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// recordBytes is about how long the answer will be if it carries records:
// growing the buffer once spares copies of what is in it already.
func recordBytes(resp kmsg.Response) int {
	fetch, ok := resp.(*kmsg.FetchResponse)
	if !ok {
		return 0
	}
	const overhead = 128 // of one partition beside its records
	n := 0
	for i := range fetch.Topics {
		for j := range fetch.Topics[i].Partitions {
			n += len(fetch.Topics[i].Partitions[j].RecordBatches) + overhead
		}
	}
	return n
}
