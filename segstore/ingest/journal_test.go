package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// desk is a Journal whose batches wait until the test has decided about them.
type desk struct {
	mu      sync.Mutex
	streams map[string]metadata.StreamConfig
	refuse  error
	batches []*Batch
	auto    map[int32]bool // partitions answered at once
	next    int64
}

func newDesk(streams ...metadata.StreamConfig) *desk {
	d := &desk{streams: map[string]metadata.StreamConfig{}, auto: map[int32]bool{}}
	for _, c := range streams {
		c.Codec = metadata.CodecNone // zstd's encoder belongs to the bubble that it began in
		d.streams[c.Name] = c
	}
	return d
}

func (d *desk) Stream(name string) (metadata.StreamConfig, bool) {
	c, ok := d.streams[name]
	return c, ok
}

func (d *desk) Together(metadata.PartitionID) int32 { return 0 }

func (d *desk) Refuses(metadata.PartitionID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refuse
}

func (d *desk) Submit(batches []*Batch) {
	var now []*Batch
	d.mu.Lock()
	for _, b := range batches {
		if d.auto[b.Partition.Partition] {
			b.BaseOffset = d.next
			d.next += int64(b.Records)
			now = append(now, b)
			continue
		}
		d.batches = append(d.batches, b)
	}
	d.mu.Unlock()
	for _, b := range now {
		b.Done(b)
	}
}

// take returns what lies on the desk.
func (d *desk) take() []*Batch {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.batches
	d.batches = nil
	return all
}

func (d *desk) config(c metadata.StreamConfig) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.streams[c.Name] = c
}

// teller notes what it is told.
type teller struct {
	mu      sync.Mutex
	seqs    []uint64
	offsets []int64
	errs    []error
	flushes int
}

func (c *teller) Complete(seq uint64, offset int64, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seqs, c.offsets, c.errs = append(c.seqs, seq), append(c.offsets, offset), append(c.errs, err)
	return len(c.seqs)%10 == 1
}

func (c *teller) Flush() { c.mu.Lock(); c.flushes++; c.mu.Unlock() }

func (c *teller) told() int { c.mu.Lock(); defer c.mu.Unlock(); return len(c.seqs) }

// inBubble runs a test on an Accumulator with a Journal, on a clock of its own.
func inBubble(t *testing.T, cfg Config, d *desk, test func(t *testing.T, acc *Accumulator)) {
	s := openStore(t)
	synctest.Test(t, func(t *testing.T) {
		cfg.Store, cfg.Journal = s, d
		acc := New(cfg)
		defer acc.Close()
		test(t, acc)
	})
}

func put(t *testing.T, acc *Accumulator, partition int32, seq uint64, c Completion) {
	t.Helper()
	p := metadata.PartitionID{Stream: "a", Partition: partition}
	if err := acc.Append(t.Context(), p, &batch.Record{Value: fmt.Append(nil, seq)}, c, seq); err != nil {
		t.Fatal(err)
	}
}

func (a *Accumulator) pump(lane string) *pump {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.pumps[lane+"/0"]
}

func TestJournalAnswersEachBatch(t *testing.T) {
	d := newDesk(stream("a", 2, 10*time.Millisecond))
	inBubble(t, Config{}, d, func(t *testing.T, acc *Accumulator) {
		c := &teller{}
		for i := range uint64(20) {
			put(t, acc, int32(i%2), i, c)
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		all := d.take()
		if len(all) != 2 || all[0].Records != 10 || c.told() != 0 {
			t.Fatalf("%d batches, %d answers", len(all), c.told())
		}
		if h, err := batch.Verify(all[0].Data); err != nil || h.Count != 10 || h.Producer != batch.NoProducer {
			t.Fatalf("%+v, %v", h, err)
		}
		all[0].BaseOffset = 100
		all[0].Done(all[0])
		synctest.Wait()
		if !slices.Equal(c.offsets, []int64{100, 101, 102, 103, 104, 105, 106, 107, 108, 109}) || c.flushes != 1 {
			t.Errorf("offsets %v, %d flushes", c.offsets, c.flushes)
		}
		all[1].BaseOffset = -1
		all[1].Done(all[1])
		synctest.Wait()
		if c.told() != 20 || c.offsets[10] != -1 || c.offsets[19] != -1 {
			t.Errorf("offsets %v, none was known", c.offsets[10:])
		}
		if u := acc.pump("normal"); u.held != 0 || u.outstanding != 0 || len(u.unanswered) != 0 {
			t.Errorf("left: %d bytes, %d groups, %d batches", u.held, u.outstanding, len(u.unanswered))
		}
	})
}

// A partition without answers costs the others of its lane one detachAfter, once.
func TestOnePartitionDoesNotStopTheOthers(t *testing.T) {
	d := newDesk(stream("a", 2, 0))
	d.auto[1] = true
	inBubble(t, Config{}, d, func(t *testing.T, acc *Accumulator) {
		c, silent := &teller{}, &teller{}
		begin := time.Now()
		for i := range uint64(100) {
			put(t, acc, 0, i, silent)
			put(t, acc, 1, i, c)
			for c.told() <= int(i) {
				time.Sleep(time.Millisecond)
			}
		}
		if took := time.Since(begin); took > 4*detachAfter {
			t.Errorf("100 records beside a silent partition took %s", took)
		}
		time.Sleep(detachAfter)
		synctest.Wait()
		for _, b := range d.take() {
			b.Done(b)
		}
		synctest.Wait()
		if silent.told() != 100 || !slices.IsSorted(silent.seqs) {
			t.Errorf("the silent partition's answers: %v", silent.seqs)
		}
		if u := acc.pump("normal"); u.held != 0 || acc.partitions[metadata.PartitionID{Stream: "a"}].late != 0 {
			t.Errorf("%d bytes left", u.held)
		}
	})
}

// Held batches leave memory; their waiters stay, up to a limit.
func TestHeldBatches(t *testing.T) {
	cfg := stream("a", 2, 0)
	d := newDesk(cfg)
	d.auto[1] = true
	inBubble(t, Config{PendingBytesMax: journalPendingShare * 64 << 10}, d, func(t *testing.T, acc *Accumulator) {
		c := &teller{}
		p := metadata.PartitionID{Stream: "a"}
		var held []*Batch
		n := uint64(0)
		for {
			err := acc.Append(t.Context(), p, &batch.Record{Value: make([]byte, 10)}, c, n)
			if errors.Is(err, ErrUnavailable) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if n++; n > 2*HeldRecordsMax {
				t.Fatal("no limit")
			}
			if n%256 == 0 {
				time.Sleep(time.Millisecond)
				synctest.Wait()
				for _, b := range d.take() {
					b.Held(b)
					held = append(held, b)
				}
				synctest.Wait()
			}
		}
		u := acc.pump(cfg.Lane)
		if u.heldRecords < HeldRecordsMax || u.held > 64<<10 || held[0].Data != nil {
			t.Errorf("%d records held, %d bytes", u.heldRecords, u.held)
		}
		put(t, acc, 1, 0, nil) // the other partition goes on
		for _, b := range held {
			b.Done(b)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		for _, b := range d.take() {
			b.Done(b)
		}
		synctest.Wait()
		if uint64(c.told()) != n || !slices.IsSorted(c.seqs) || u.heldRecords != 0 {
			t.Errorf("%d of %d answered, %d held", c.told(), n, u.heldRecords)
		}
		put(t, acc, 0, n, c)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		for _, b := range d.take() {
			b.Done(b)
		}
	})
}

// A partition whose answers are late fills half of the memory at most.
func TestHalfOfTheMemoryIsForTheOthers(t *testing.T) {
	cfg := stream("a", 2, 0)
	d := newDesk(cfg)
	d.auto[1] = true
	inBubble(t, Config{PendingBytesMax: journalPendingShare * 64 << 10}, d, func(t *testing.T, acc *Accumulator) {
		p := metadata.PartitionID{Stream: "a"}
		put(t, acc, 0, 0, nil)
		time.Sleep(2 * detachAfter) // it is late now
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for err := error(nil); err == nil; {
			if err = acc.Append(ctx, p, &batch.Record{Value: make([]byte, 1<<10)}, nil, 1); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		if held := acc.held(cfg.Lane + "/0"); held < 32<<10 || held > 40<<10 {
			t.Errorf("%d bytes in memory", held)
		}
		c := &teller{}
		put(t, acc, 1, 0, c)
		synctest.Wait()
		if c.told() != 1 {
			t.Error("the other partition waits")
		}
	})
}

func TestAcksNoneIsConfirmedWhenTaken(t *testing.T) {
	cfg := stream("a", 1, 0)
	cfg.Acks = metadata.AcksNone
	d := newDesk(cfg)
	inBubble(t, Config{}, d, func(t *testing.T, acc *Accumulator) {
		c := &teller{}
		put(t, acc, 0, 7, c)
		synctest.Wait()
		if c.told() != 1 || c.errs[0] != nil || c.offsets[0] != -1 {
			t.Fatalf("%+v", c)
		}
		for _, b := range d.take() {
			b.BaseOffset, b.Err = -1, errors.New("the leader is gone")
			b.Done(b)
		}
		synctest.Wait()
		if c.told() != 1 || acc.held(cfg.Lane) != 0 {
			t.Errorf("told %d times, %d bytes left", c.told(), acc.held(cfg.Lane))
		}
	})
}

// The site may change its mind about a stream, and a partition may be refused.
func TestJournalIsAskedForEveryBatch(t *testing.T) {
	cfg := stream("a", 1, 0)
	d := newDesk(cfg)
	d.auto[0], d.auto[1] = true, true
	inBubble(t, Config{}, d, func(t *testing.T, acc *Accumulator) {
		c := &teller{}
		put(t, acc, 0, 0, c)
		synctest.Wait()
		p1 := metadata.PartitionID{Stream: "a", Partition: 1}
		if err := acc.Append(t.Context(), p1, &batch.Record{}, c, 1); !errors.Is(err, ErrUnknownPartition) {
			t.Errorf("before it was added: %v", err)
		}
		cfg.Partitions, cfg.Codec = 2, metadata.CodecNone
		cfg.Acks = metadata.AcksLeader
		d.config(cfg)
		put(t, acc, 1, 1, c)
		put(t, acc, 0, 2, c)
		synctest.Wait()
		if got := acc.partitions[metadata.PartitionID{Stream: "a"}].config; got != cfg || c.told() != 3 {
			t.Errorf("goes on with %+v; %d answers", got, c.told())
		}
		d.mu.Lock()
		d.refuse = ErrFull
		d.mu.Unlock()
		if err := acc.Append(t.Context(), p1, &batch.Record{}, c, 3); !errors.Is(err, ErrFull) {
			t.Errorf("refused with %v", err)
		}
	})
}

func TestCloseGivesUpWaiting(t *testing.T) {
	d := newDesk(stream("a", 2, time.Minute))
	c := &teller{}
	var late []*Batch
	inBubble(t, Config{}, d, func(t *testing.T, acc *Accumulator) {
		for i := range uint64(10) {
			put(t, acc, 0, i, c)
		}
		begin := time.Now()
		acc.Close()
		if took := time.Since(begin); took > 2*closeWait {
			t.Errorf("took %s", took)
		}
		if c.told() != 10 || !errors.Is(c.errs[9], ErrUnavailable) || !slices.IsSorted(c.seqs) {
			t.Errorf("answers: %v %v", c.seqs, c.errs)
		}
		late = d.take()
		for _, b := range late {
			b.Done(b)
		}
		synctest.Wait()
	})
	if c.told() != 10 || len(late) != 1 {
		t.Errorf("%d answers, %d batches", c.told(), len(late))
	}
}
