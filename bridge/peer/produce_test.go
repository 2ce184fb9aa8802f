package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/replica"
)

// TestProduce: batches of many partitions arrive over a secured port, in order
// for each, with the acks they were given, and each gets its own answer.
func TestProduce(t *testing.T) {
	const partitions, each = 7, 40
	next := map[metadata.PartitionID]int{}
	near, far := secure(t, &service{produce: func(batches []*replica.Append) {
		seen := map[metadata.PartitionID]bool{}
		for _, a := range batches {
			if seen[a.Partition] {
				t.Errorf("two batches of %v in one request", a.Partition)
			}
			seen[a.Partition] = true
			if n := number(a); n != next[a.Partition] {
				t.Errorf("%v: batch %d came, %d was due", a.Partition, n, next[a.Partition])
			}
			next[a.Partition]++
			if want := wireAcks(acksOf(number(a))); a.Acks != want {
				t.Errorf("acks %d, want %d", a.Acks, want)
			}
		}
		confirm(batches)
	}})
	p := started(t, Config{Dial: near.Dial})
	o := newTold(t)
	for n := range each {
		var batches []*replica.Append
		for i := range partitions {
			batches = append(batches, o.batch(fmt.Sprint("stream-", i%3), int32(i), acksOf(n), n))
		}
		p.Produce(far, batches)
	}
	for _, a := range o.next(partitions * each) {
		if a.Err != nil || a.BaseOffset != int64(number(a)) {
			t.Errorf("batch %s: offset %d, %v", a.Batch, a.BaseOffset, a.Err)
		}
	}
}

func acksOf(n int) metadata.Acks { return metadata.Acks(n/5%3 - 1) }

// TestErrorsTravel: every refusal arrives as itself, with the leader's words.
func TestErrorsTravel(t *testing.T) {
	errs := []error{nil, errors.New("something else"), context.Canceled}
	for _, c := range codes {
		errs = append(errs, fmt.Errorf("stream s/0: %w", c.err))
	}
	near, far := secure(t, &service{
		produce: func(batches []*replica.Append) {
			for _, a := range batches {
				finish(a, 7, errs[a.Partition.Partition])
			}
		},
		fetch: func(_ context.Context, r *replica.FetchRequest) *replica.FetchAnswer {
			a := &replica.FetchAnswer{}
			for _, p := range r.Partitions {
				a.Partitions = append(a.Partitions, replica.FetchedPartition{Partition: p.Partition, Err: errs[p.Partition.Partition]})
			}
			return a
		},
	})
	p := started(t, Config{Dial: near.Dial})
	o := newTold(t)
	var batches []*replica.Append
	r := &replica.FetchRequest{MaxBytes: 1}
	for i := range errs {
		batches = append(batches, o.batch("s", int32(i), metadata.AcksAll, i))
		r.Partitions = append(r.Partitions, replica.FetchPartition{Partition: batches[i].Partition})
	}
	p.Produce(far, batches)
	for _, a := range o.next(len(batches)) {
		want := errs[a.Partition.Partition]
		checkTravelled(t, want, a.Err)
		if want != nil && !strings.Contains(a.Err.Error(), want.Error()) {
			t.Errorf("%q became %q", want, a.Err)
		}
	}
	answer, err := p.Fetch(context.Background(), far, r)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range answer.Partitions {
		checkTravelled(t, errs[i], f.Err)
	}
}

func checkTravelled(t *testing.T, sent, got error) {
	t.Helper()
	if sent == nil {
		if got != nil {
			t.Errorf("no error became %v", got)
		}
		return
	}
	want := replica.ErrUnreachable // what the table lacks says nothing about the batch
	for _, c := range codes {
		if errors.Is(sent, c.err) {
			want = c.err
		}
	}
	if !errors.Is(got, want) || !strings.Contains(got.Error(), "gateway far") {
		t.Errorf("%v became %v", sent, got)
	}
}

// TestCodesAreUnique: the table reads the same both ways.
func TestCodesAreUnique(t *testing.T) {
	for i, c := range codes {
		for _, d := range codes[:i] {
			if c.code.Code == d.code.Code || errors.Is(c.err, d.err) {
				t.Errorf("%v and %v share code %d", c.err, d.err, c.code.Code)
			}
		}
		if !errors.Is(errorOf(codeOf(c.err), "x", nil), c.err) {
			t.Errorf("%v does not come back", c.err)
		}
	}
}

// TestConnectionBreaks: when a gateway dies with batches under way, all of them
// are answered once, the hook is told, and the next ones find the gateway's
// next life.
func TestConnectionBreaks(t *testing.T) {
	const n = 500
	var mu sync.Mutex
	var kept []*replica.Append
	enough := make(chan struct{})
	to, stop := plain(t, &Server{Service: &service{produce: func(batches []*replica.Append) {
		mu.Lock()
		defer mu.Unlock()
		for _, a := range batches {
			if number(a) < 5 {
				finish(a, int64(number(a)), nil)
				continue
			}
			if kept = append(kept, a); len(kept) == 10 {
				close(enough)
			}
		}
	}}}, 1)
	resets := make(chan metadata.Member, 10)
	p := started(t, Config{OnReset: func(m metadata.Member, err error) { resets <- m }})
	o := newTold(t)
	for i := range n {
		p.Produce(to, []*replica.Append{o.batch("s", 0, metadata.AcksAll, i)})
	}
	answered := o.next(5)
	<-enough
	stop()
	for i, a := range append(answered, o.next(n-5)...) {
		if number(a) != i {
			t.Fatalf("answer %d is for batch %s", i, a.Batch)
		}
		if want := i >= 5; errors.Is(a.Err, replica.ErrUnreachable) != want {
			t.Errorf("batch %d: %v", i, a.Err)
		}
	}
	if m := <-resets; m.ID != to.ID {
		t.Errorf("reset of %v", m)
	}
	again, _ := plain(t, &Server{Service: &service{produce: confirm}}, 1)
	again.Incarnation = 2
	p.Produce(again, []*replica.Append{o.batch("s", 0, metadata.AcksAll, 77)})
	if a := o.next(1)[0]; a.Err != nil || a.BaseOffset != 77 {
		t.Errorf("the next life answers %d, %v", a.BaseOffset, a.Err)
	}
	p.Produce(to, []*replica.Append{o.batch("s", 0, metadata.AcksAll, 78)}) // an old image still names the old life
	if a := o.next(1)[0]; a.Err != nil {
		t.Errorf("the next life is not reached by who knows the old one: %v", a.Err)
	}
	for _, a := range kept { // late, into a connection that is gone
		finish(a, 1, nil)
	}
}

// TestRefusedDial: nobody listens there.
func TestRefusedDial(t *testing.T) {
	to, stop := plain(t, &Server{Service: &service{}}, 1)
	stop()
	resets := make(chan error, 10)
	p := started(t, Config{OnReset: func(_ metadata.Member, err error) { resets <- err }})
	o := newTold(t)
	p.Produce(to, []*replica.Append{o.batch("s", 0, metadata.AcksAll, 1), o.batch("s", 0, metadata.AcksAll, 2)})
	for _, a := range o.next(2) {
		if !errors.Is(a.Err, replica.ErrUnreachable) {
			t.Errorf("error %v", a.Err)
		}
	}
	if err := <-resets; !isReset(err) {
		t.Errorf("reset told as %v", err)
	}
}

// TestAnotherGatewayAnswers: an address that has passed on is not trusted.
func TestAnotherGatewayAnswers(t *testing.T) {
	near, far := secure(t, &service{produce: confirm})
	far.Name = "else"
	p := started(t, Config{Dial: near.Dial})
	o := newTold(t)
	p.Produce(far, []*replica.Append{o.batch("s", 0, metadata.AcksAll, 1)})
	if a := o.next(1)[0]; !errors.Is(a.Err, errOther) || !errors.Is(a.Err, replica.ErrUnreachable) {
		t.Errorf("error %v", a.Err)
	}
}

// TestSlowPeer: a gateway that takes no bytes holds up neither the caller nor
// another gateway, and the queue for it has an end.
func TestSlowPeer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepted by the kernel, read by nobody
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	slow := metadata.Member{ID: 9, Name: "slow", Address: ln.Addr().String(), Incarnation: 1}
	quick, _ := plain(t, &Server{Service: &service{produce: confirm}}, 1)
	p := started(t, Config{})
	held, o := newTold(t), newTold(t)
	for i := range QueueMax + 10 {
		p.Produce(slow, []*replica.Append{held.batch("s", 0, metadata.AcksAll, i)})
	}
	for i := range 100 {
		p.Produce(quick, []*replica.Append{o.batch("s", 0, metadata.AcksAll, i)})
		if a := o.next(1)[0]; a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	for _, a := range held.next(10) {
		if !errors.Is(a.Err, errQueueFull) {
			t.Errorf("beyond the queue: %v", a.Err)
		}
	}
	p.Drop(slow.ID) // the site has found it dead
	held.next(QueueMax)
}

// TestAnswersInOrder: the leader is done with batches backwards, and with one
// never: that one is answered when its time is over, the others as they are.
func TestAnswersInOrder(t *testing.T) { synctest.Test(t, answersInOrder) }

func answersInOrder(t *testing.T) {
	const n, wait = 10, 200 * time.Millisecond
	var mu sync.Mutex
	var held []*replica.Append
	ln := inMemory(t, &Server{produceWait: wait, Service: &service{produce: func(batches []*replica.Append) {
		mu.Lock()
		defer mu.Unlock()
		if held = append(held, batches...); len(held) == n+1 {
			for _, a := range slices.Backward(held) {
				if a.Partition.Partition == 0 {
					finish(a, int64(number(a)), nil)
				}
			}
		}
	}}})
	p := started(t, Config{Dial: ln.dial})
	o := newTold(t)
	batches := []*replica.Append{o.batch("s", 1, metadata.AcksAll, 99)}
	for i := range n {
		batches = append(batches, o.batch("s", 0, metadata.AcksAll, i))
	}
	began := time.Now()
	p.Produce(metadata.Member{ID: 1}, batches)
	want := 0
	for range n + 1 {
		a := o.next(1)[0]
		if a.Partition.Partition == 1 {
			if took := time.Since(began); took != wait {
				t.Errorf("the one that was never done was answered after %s, want %s", took, wait)
			}
			if !errors.Is(a.Err, replica.ErrUnreachable) {
				t.Errorf("the one that was never done: %v", a.Err)
			}
			continue
		}
		if a.Err != nil || number(a) != want {
			t.Errorf("batch %s came as number %d: %v", a.Batch, want, a.Err)
		}
		want++
	}
	mu.Lock()
	defer mu.Unlock()
	for _, a := range held {
		if a.Partition.Partition == 1 {
			finish(a, 3, nil) // late
		}
	}
}

// TestBadBatches: what no leader would take is refused without harm to others.
func TestBadBatches(t *testing.T) {
	to, _ := plain(t, &Server{Service: &service{produce: confirm}}, 1)
	p := started(t, Config{})
	o := newTold(t)
	large := o.batch("s", 0, metadata.AcksAll, 1)
	large.Batch = make([]byte, metadata.BatchBytesMax+1)
	empty := o.batch("s", 1, metadata.AcksAll, 1)
	empty.Batch = nil
	p.Produce(to, []*replica.Append{large, empty, o.batch("s", 2, metadata.AcksAll, 5)})
	want := []error{replica.ErrTooLarge, replica.ErrCorrupt, nil}
	for _, a := range o.next(3) {
		if !errors.Is(a.Err, want[a.Partition.Partition]) {
			t.Errorf("%v: %v", a.Partition, a.Err)
		}
	}
}

// TestRunEnds: all that waits is answered, and later calls are too.
func TestRunEnds(t *testing.T) {
	to, _ := plain(t, &Server{Service: &service{
		produce: func([]*replica.Append) {},
		fetch:   func(ctx context.Context, _ *replica.FetchRequest) *replica.FetchAnswer { <-ctx.Done(); return nil },
	}}, 1)
	p, err := New(Config{Dial: dialPlain, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	o := newTold(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	for i := range 100 {
		p.Produce(to, []*replica.Append{o.batch("s", 0, metadata.AcksAll, i)})
	}
	fetched := make(chan error)
	go func() {
		_, err := p.Fetch(context.Background(), to, &replica.FetchRequest{MaxWait: time.Second})
		fetched <- err
	}()
	cancel()
	<-done
	if err := <-fetched; !errors.Is(err, replica.ErrUnreachable) {
		t.Errorf("the fetch: %v", err)
	}
	p.Produce(to, []*replica.Append{o.batch("s", 0, metadata.AcksAll, 1)})
	for i, a := range o.next(101) {
		if !errors.Is(a.Err, replica.ErrUnreachable) || i == 100 && !errors.Is(a.Err, errStopped) {
			t.Errorf("error %v", a.Err)
		}
	}
}
