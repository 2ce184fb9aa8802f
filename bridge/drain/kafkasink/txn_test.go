package kafkasink

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// in returns a setup of a mode.
func in(mode Mode, state *memState) setup {
	s := setup{state: state}
	s.sink.Mode, s.sink.Site = mode, "plant"
	return s
}

// count counts requests of a kind.
func (c *central) count(key kmsg.Key) *kfake.FaultHandle {
	return c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Observe: true, Count: -1})
}

// TestTransaction: what a backlog and a trickle become, and what that costs.
func TestTransaction(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "txn")).as(ModeTransaction)
	log := newLog("txn", 0).fill(t, 400, 10)
	begun, ended := c.count(kmsg.AddPartitionsToTxn), c.count(kmsg.EndTxn)
	g := c.gateway(in(ModeTransaction, nil), log)
	// What feeds a transaction may stand still, which ends it early: the best of some
	// backlogs counts.
	const tries, most = 3, 120
	best := most + 1
	for n, before := 1, 0; ; n++ {
		g.drained(log)
		made := ended.Hits() - before
		t.Logf("400 batches became %d transactions", made)
		if best = min(best, made); best <= most || n == tries {
			break
		}
		before = ended.Hits()
		log.fill(t, 400, 10)
	}
	s := g.drainer.Status()
	if s.Uplink.Mode != "transaction" || s.Uplink.ModeWhy != "set in the configuration" {
		t.Errorf("the uplink tells mode %q, because %q", s.Uplink.Mode, s.Uplink.ModeWhy)
	}
	if begun.Hits() != ended.Hits() || best > most {
		t.Errorf("%d transactions begun, %d ended, %d of these for 400 batches", begun.Hits(), ended.Hits(), best)
	}
	log.append(t, 5, metadata.CodecZstd)
	g.drained(log)
	g.stop()
	end := log.HighWatermark()
	c.expect("txn", 0, log.id, offsets(0, end))
	// The position upstream is the cursor, in the group of the first owner.
	name, offset := c.position(t)
	if want := fmt.Sprintf("cistern/plant/txn/0/%d/0", s.Partitions[0].ProducerID); name != want || offset != end {
		t.Errorf("group %q is at %d, want %q at %d", name, offset, want, end)
	}
}

// position returns the one group upstream, and its offset.
func (c *central) position(t *testing.T) (string, int64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.seeds...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	groups, err := admin.ListGroups(t.Context())
	if err != nil || len(groups) != 1 {
		t.Fatalf("groups %v, %v, want one", groups, err)
	}
	offsets, err := admin.FetchOffsets(t.Context(), groups.Groups()[0])
	if err != nil {
		t.Fatal(err)
	}
	at := int64(-1)
	offsets.Each(func(o kadm.OffsetResponse) { at = o.At })
	return groups.Groups()[0], at
}

// TestTransactionRefused: what stands before a refused batch is committed, the
// batch is set aside, and nothing that was sent behind it passes it.
func TestTransactionRefused(t *testing.T) {
	t.Parallel()
	for _, at := range []int{0, 1, 30, 59} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			c := fakeCentral(t, kfake.SeedTopics(1, "refused")).as(ModeTransaction)
			log := newLog("refused", 0).fill(t, 60, 10)
			poison := slices.Clone(log.batches[at][batch.HeaderLen:])
			c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidTimestamp, Count: -1, When: func(req kmsg.Request) bool {
				return bytes.Equal(req.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records[batch.HeaderLen:], poison)
			}})
			g := c.gateway(in(ModeTransaction, nil), log)
			g.drained(log)
			g.stop()
			first := int64(at * 10)
			c.expect("refused", 0, log.id, slices.Concat(offsets(0, first), offsets(first+10, 600)))
			if got := g.quarantine.names(); !slices.Equal(got, []string{fmt.Sprintf("refused/0@%d-%d INVALID_TIMESTAMP", first, first+9)}) {
				t.Errorf("quarantine holds %v", got)
			}
		})
	}
}

// TestTransactionErrors: whatever a coordinator or a leader answers once, in
// whatever request, everything arrives once.
func TestTransactionErrors(t *testing.T) {
	t.Parallel()
	busy := []*kerr.Error{kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.CoordinatorNotAvailable}
	fenced := []*kerr.Error{kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.InvalidTxnState, kerr.InvalidProducerIDMapping}
	tests := map[kmsg.Key][]*kerr.Error{
		kmsg.FindCoordinator:    {kerr.CoordinatorNotAvailable},
		kmsg.InitProducerID:     busy,
		kmsg.OffsetFetch:        {kerr.UnstableOffsetCommit, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.GroupIDNotFound},
		kmsg.AddPartitionsToTxn: slices.Concat(busy, fenced, []*kerr.Error{kerr.UnknownTopicOrPartition, kerr.OperationNotAttempted}),
		kmsg.AddOffsetsToTxn:    slices.Concat(busy, fenced),
		kmsg.Produce:            slices.Concat(fenced, []*kerr.Error{kerr.NotLeaderForPartition, kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.NotEnoughReplicasAfterAppend}),
		kmsg.TxnOffsetCommit:    slices.Concat(busy, fenced, []*kerr.Error{kerr.UnknownTopicOrPartition}),
		kmsg.EndTxn:             slices.Concat(busy, fenced, []*kerr.Error{kerr.UnknownServerError}),
	}
	for key, errs := range tests {
		for _, e := range errs {
			t.Run(key.Name()+" "+e.Message, func(t *testing.T) {
				t.Parallel()
				c := fakeCentral(t, kfake.SeedTopics(1, "passing")).as(ModeTransaction)
				log := newLog("passing", 0).fill(t, 30, 10)
				n := 0
				fault := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: e, Count: 2, When: func(req kmsg.Request) bool {
					if init, ok := req.(*kmsg.InitProducerIDRequest); ok && init.TransactionalID == nil {
						return false
					}
					n++
					return n == 1 || n == 3
				}})
				g := c.gateway(in(ModeTransaction, nil), log)
				g.drained(log)
				g.stop()
				g = c.gateway(in(ModeTransaction, g.state), log.fill(t, 3, 10))
				g.drained(log)
				g.stop()
				if fault.Hits() == 0 {
					t.Error("the broker was never at fault")
				}
				c.expect("passing", 0, log.id, offsets(0, 330))
			})
		}
	}
}

// TestTransactionOffsetGone: a group's offsets are forgotten after a week; the
// gateway's own position counts then. Of another incarnation, they never count.
func TestTransactionOffsetGone(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "gone")).as(ModeTransaction)
	log := newLog("gone", 0).fill(t, 30, 10)
	g := c.gateway(in(ModeTransaction, nil), log)
	g.drained(log)
	g.stop()
	name, _ := c.position(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.seeds...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if _, err := admin.DeleteGroup(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	log.fill(t, 3, 10)
	g = c.gateway(in(ModeTransaction, g.state), log)
	g.drained(log)
	g.stop()
	c.expect("gone", 0, log.id, offsets(0, 330))

	// Somebody moves the group: not ours to believe.
	var moved kadm.Offsets
	moved.Add(kadm.Offset{Topic: "gone", At: 350, LeaderEpoch: -1, Metadata: "by hand"})
	if err := admin.CommitAllOffsets(t.Context(), name, moved); err != nil {
		t.Fatal(err)
	}
	log.fill(t, 3, 10)
	g = c.gateway(in(ModeTransaction, g.state), log)
	g.drained(log)
	g.stop()
	c.expect("gone", 0, log.id, offsets(0, 360))
}

// TestTransactionLeft: a drainer that is stopped in the midst of a transaction
// does not leave readers of committed records waiting for its timeout.
func TestTransactionLeft(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "left")).as(ModeTransaction)
	log := newLog("left", 0).fill(t, 5, 10)
	var once sync.Once
	reached, release := make(chan struct{}), make(chan struct{})
	c.fake.ControlKey(int16(kmsg.TxnOffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.fake.KeepControl()
		once.Do(func() {
			close(reached)
			c.fake.SleepControl(func() { <-release })
		})
		return nil, nil, false
	})
	var stopping atomic.Bool
	asked := make(chan struct{}) // for a new epoch, after the stop began
	answer, ask := sync.OnceFunc(func() { close(release) }), sync.OnceFunc(func() { close(asked) })
	t.Cleanup(answer) // or the cluster would not end
	s := in(ModeTransaction, nil)
	s.sink.Client.Dial = listenIn(kmsg.InitProducerID, func() {
		if stopping.Load() {
			ask()
			answer()
		}
	})
	g := c.gateway(s, log)
	<-reached
	fenced := c.count(kmsg.InitProducerID)
	stopping.Store(true)
	g.stop()
	answer()
	select {
	case <-asked: // and the drainer may be gone before the broker looks
		g.until("fenced", func(drain.Status) bool { return fenced.Hits() > 0 })
	default:
		t.Error("the transaction was left open")
	}
	g = c.gateway(in(ModeTransaction, g.state), log)
	g.drained(log)
	g.stop()
	c.expect("left", 0, log.id, offsets(0, 50))
}

// listenIn dials connections that tell of each request of a kind that has left.
func listenIn(key kmsg.Key, tell func()) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &tappedConn{nc, key, tell}, nil
	}
}

// tappedConn sees whole requests: that is how they are written.
type tappedConn struct {
	net.Conn
	key  kmsg.Key
	tell func()
}

func (c *tappedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err == nil && isRequest(b, c.key) {
		c.tell()
	}
	return n, err
}

// TestTransactionSize: a transaction is to be over in a third of its time,
// whatever the link.
func TestTransactionSize(t *testing.T) {
	for _, c := range []struct {
		bytes int
		took  time.Duration
		want  int
	}{
		{1 << 20, time.Second, TxnBytesMax},
		{100_000, 20 * time.Second, 100_000},
		{100_000, time.Minute, TxnBytesMin},
		{10_000, 0, TxnBytesMax},
	} {
		l := &txnLane{}
		if l.adapt(c.bytes, c.took); l.bytesMax != c.want {
			t.Errorf("%d bytes took %v: next are %d, want %d", c.bytes, c.took, l.bytesMax, c.want)
		}
	}
	if got := nextSequence(1<<31-10, 25); got != 15 {
		t.Errorf("behind 2^31-1 comes %d, want 15", got)
	}
}

// TestModeChanges: whatever the mode was, and however it ended, the next one goes
// on where it was.
func TestModeChanges(t *testing.T) {
	t.Parallel()
	for _, from := range modes {
		for _, to := range modes {
			for _, crashed := range []bool{false, true} {
				if crashed && from == ModeAtLeastOnce {
					continue // what is in doubt is sent again
				}
				t.Run(fmt.Sprintf("%s to %s, crashed %v", from, to, crashed), func(t *testing.T) {
					t.Parallel()
					c := fakeCentral(t, kfake.SeedTopics(1, "change")).as(ModeTransaction)
					log := newLog("change", 0).fill(t, 30, 10)
					g := c.gateway(in(from, nil), log)
					g.drained(log)
					state := g.state
					if crashed {
						state = state.survive(false)
					}
					g.stop()
					for _, mode := range []Mode{to, from} {
						log.fill(t, 5, 10)
						g = c.gateway(in(mode, state), log)
						g.drained(log)
						g.stop()
					}
					c.expect("change", 0, log.id, offsets(0, 400))
				})
			}
		}
	}
}

// TestModeDoubt: what one mode left in doubt and the next can't look up stops
// the partition, but for at least once, which promises nothing.
func TestModeDoubt(t *testing.T) {
	t.Parallel()
	for _, to := range []Mode{ModeSequence, ModeAtLeastOnce} {
		t.Run(to.String(), func(t *testing.T) {
			t.Parallel()
			c := fakeCentral(t, kfake.SeedTopics(1, "doubt")).as(to)
			log := newLog("doubt", 0).fill(t, 30, 10)
			g := c.gateway(in(ModeTransaction, nil), log)
			g.drained(log)
			state := g.state.survive(false)
			g.stop()
			fault := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.FindCoordinator}, Err: kerr.TransactionalIDAuthorizationFailed, Count: -1})
			log.fill(t, 5, 10)
			var said bytes.Buffer
			s := in(to, state)
			s.logger = slog.New(slog.NewTextHandler(&said, nil))
			g = c.gateway(s, log)
			if to == ModeSequence {
				g.until("it stops", func(s drain.Status) bool {
					return s.Partitions[0].State == drain.StateStopped && strings.Contains(s.Partitions[0].Reason, `"transaction" left in doubt`)
				})
				fault.Remove()
				g.drainer.Kick()
			}
			g.drained(log)
			g.stop()
			c.expect("doubt", 0, log.id, offsets(0, 350))
		})
	}
}
