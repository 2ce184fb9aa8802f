package drain

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// shelf is a Log of batches of ten records, some of them above the high
// watermark.
type shelf struct {
	mu      sync.Mutex
	watch   []chan struct{}
	batches [][]byte
	start   int64
	hw      int64
	epoch   int32
	fresh   bool // records are of now; otherwise they are old
}

var shelfID = metadata.PartitionID{Stream: "s", Partition: 0}

func newShelf(t *testing.T, first int64, batches int) *shelf {
	l := &shelf{start: first, hw: first}
	l.grow(t, batches)
	return l
}

// grow appends batches and moves the high watermark over them.
func (l *shelf) grow(t *testing.T, batches int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	at := int64(0)
	if l.fresh {
		at = time.Now().UnixMilli()
	}
	for range batches {
		b := batch.NewBuilder(metadata.CodecNone)
		for range 10 {
			if _, err := b.Append(&batch.Record{Timestamp: at, Value: []byte("v")}); err != nil {
				t.Fatal(err)
			}
		}
		one, err := b.AppendTo(nil, batch.NoProducer)
		if err != nil {
			t.Fatal(err)
		}
		batch.Stamp(one, l.hw, l.epoch)
		l.batches = append(l.batches, one)
		l.hw += 10
	}
	l.tell()
}

// tell wakes those who watch. l.mu is held.
func (l *shelf) tell() {
	for _, w := range l.watch {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

func (l *shelf) Partition() metadata.PartitionID { return shelfID }
func (l *shelf) StartOffset() int64              { l.mu.Lock(); defer l.mu.Unlock(); return l.start }
func (l *shelf) HighWatermark() int64            { l.mu.Lock(); defer l.mu.Unlock(); return l.hw }
func (l *shelf) EndOffset() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.start + 10*int64(len(l.batches))
}
func (l *shelf) Watch() (<-chan struct{}, func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := make(chan struct{}, 1)
	l.watch = append(l.watch, w)
	return w, func() {}
}
func (l *shelf) Read(offset int64, buf []byte, _ int) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.batches {
		if h, _ := batch.ParseHeader(b); h.NextOffset() > offset && h.NextOffset() <= l.hw {
			buf = append(buf, b...)
		}
	}
	return buf, nil
}

// memory is a State that counts.
type memory struct {
	kept        map[string][]byte
	puts, syncs int

	mu  sync.Mutex
	err error // what PutSync says
}

func (m *memory) fails(err error) { m.mu.Lock(); defer m.mu.Unlock(); m.err = err }

func (m *memory) Get(key string) []byte { m.mu.Lock(); defer m.mu.Unlock(); return m.kept[key] }
func (m *memory) Put(key string, v []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept[key] = v
	m.puts++
}
func (m *memory) PutSync(key string, v []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	m.kept[key] = v
	m.syncs++
	return nil
}

func (m *memory) record(t *testing.T) record {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := decodeRecord(m.kept[stateKey(shelfID)])
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// cursor is that of the live flow.
func (m *memory) cursor(t *testing.T) Cursor { t.Helper(); return m.record(t).Live.Cursor }

type noQuarantine struct{}

func (noQuarantine) Add(Poison) error { return errors.New("nothing is expected here") }

// hand is a Sink whose answers the test gives by hand.
type hand struct {
	sent   []*sending
	opened []Opening
	traits Traits
	ids    int64

	mu   sync.Mutex
	fail error // what Open says
	at   int64 // the position that the next Open finds; 0: none
}

func (s *hand) fails(err error) { s.mu.Lock(); defer s.mu.Unlock(); s.fail = err }

type sending struct {
	sequence int32
	base     int64
	next     int64
	done     func(int64, error)
	flow     Flow
	id       int64
	latest   int64 // timestamp
}

// handLane is a lane of hand's.
type handLane struct {
	*hand
	flow Flow
	id   int64
}

func (s *hand) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (s *hand) Uplink() Uplink                { return Uplink{State: UplinkUp} }
func (s *hand) Kick()                         {}
func (s *hand) Target() string                { return "t/0" }
func (s *hand) Traits() Traits                { return s.traits }
func (s *hand) Close()                        {}
func (s *hand) Open(_ context.Context, _ metadata.PartitionID, c *Cursor, how Opening) (Lane, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = append(s.opened, how)
	if s.fail != nil {
		return nil, s.fail
	}
	if c.Producer < 0 {
		s.ids++
		c.Incarnate(time.Now(), Target{Cluster: "c", Topic: "t"}, s.ids, 0, 0)
	}
	if s.at > 0 {
		c.Position, s.at = s.at, 0
	}
	return &handLane{s, how.Flow, c.Producer}, nil
}

func (l *handLane) Send(b []byte, h *batch.Header, sequence int32, done func(int64, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, &sending{sequence, h.BaseOffset, h.NextOffset(), done, l.flow, l.id, h.MaxTimestamp})
}

// take returns what was sent since the last call.
func (s *hand) take() []*sending {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.sent
	s.sent = nil
	return sent
}

// of returns those of one flow.
func of(flow Flow, sent []*sending) (own []*sending) {
	for _, s := range sent {
		if s.flow == flow {
			own = append(own, s)
		}
	}
	return own
}

// bench is a drainer in a bubble, with everything around it.
type bench struct {
	*Drainer
	log   *shelf
	state *memory
	sink  *hand
	stop  func()
}

func newBench(t *testing.T, log *shelf, state *memory) *bench {
	t.Helper()
	return newBenchOf(t, log, state, Term{}, Config{})
}

// newBenchOf is newBench with what else a test wants of the drainer.
func newBenchOf(t *testing.T, log *shelf, state *memory, term Term, c Config) *bench {
	t.Helper()
	if state == nil {
		state = &memory{kept: map[string][]byte{}}
	}
	sink, ok := c.Sink.(*hand)
	if !ok {
		sink = &hand{}
	}
	c.Sink, c.State, c.Logger = sink, state, slog.New(slog.NewTextHandler(io.Discard, nil))
	if c.Quarantine == nil {
		c.Quarantine = noQuarantine{}
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Add(log, term); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); d.Run(ctx) }()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return &bench{d, log, state, sink, stop}
}

func (b *bench) answer(sent []*sending) {
	for _, s := range sent {
		s.done(s.next, nil)
	}
}

func bases(sent []*sending) (all []int64) {
	for _, s := range sent {
		all = append(all, s.base)
	}
	return all
}

func wantBases(t *testing.T, when string, sent []*sending, want ...int64) {
	t.Helper()
	got := bases(sent)
	if len(got) != len(want) {
		t.Fatalf("%s: batches %v were sent, want %v", when, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: batches %v were sent, want %v", when, got, want)
		}
	}
}

func (l *shelf) EndOffsetForEpoch(epoch int32) (int32, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, end := int32(-1), int64(-1)
	for _, b := range l.batches {
		if h, _ := batch.ParseHeader(b); h.LeaderEpoch <= epoch {
			found, end = h.LeaderEpoch, h.NextOffset()
		}
	}
	return found, end
}
