//go:build kafka

package kafka

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"cistern/segstore/batch"
)

func topicSet(topic string) kadm.TopicsSet {
	var s kadm.TopicsSet
	s.Add(topic, 0)
	return s
}

// deleteRecords deletes all that a topic holds now.
func deleteRecords(t *testing.T, b *Broker, topic string) {
	t.Helper()
	a := admin(t, b)
	ends, err := a.ListEndOffsets(within(t, patience), topic)
	must(t, errors.Join(err, ends.Error()))
	deleted, err := a.DeleteRecords(within(t, patience), ends.Offsets())
	must(t, err)
	must(t, deleted.Error())
}

// loseTail cuts the last batches off a partition of a broker that does not run,
// as an unclean election would, and all that remembers them.
func loseTail(t *testing.T, b *Broker, topic string, batches int) {
	t.Helper()
	dir := filepath.Join(b.Data(), topic+"-0")
	segment := filepath.Join(dir, "00000000000000000000.log")
	stored, err := os.ReadFile(segment)
	must(t, err)
	var sizes []int
	for rest := stored; len(rest) > 0; {
		var one []byte
		one, rest, err = batch.Next(rest)
		must(t, err)
		sizes = append(sizes, len(one))
	}
	if len(sizes) <= batches {
		t.Fatalf("%d batches are stored, to lose %d leaves none", len(sizes), batches)
	}
	keep := len(stored)
	for _, n := range sizes[len(sizes)-batches:] {
		keep -= n
	}
	must(t, os.Truncate(segment, int64(keep)))
	for _, pattern := range []string{filepath.Join(dir, "*.index"), filepath.Join(dir, "*.timeindex"), filepath.Join(dir, "*.snapshot"),
		filepath.Join(b.Data(), ".kafka_cleanshutdown"), filepath.Join(b.Data(), "*-offset-checkpoint")} {
		found, err := filepath.Glob(pattern)
		must(t, err)
		for _, name := range found {
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
}

// The cluster loses records that it had confirmed. The sequence numbers do not
// fit any more: the drain goes back and sends what it still has, and says so.
func TestUpstreamLostItsTail(t *testing.T) {
	t.Parallel()
	b := startBroker(t, nil)
	const running, stopped, crashed = "goes on", "is started anew", "has crashed"
	cases := []string{running, stopped, crashed} // the drain, while the broker is down
	drains := map[string]*drainer{}
	for _, c := range cases {
		log := newBacklog(topic(t, b, "lost"), 0)
		log.fill(t, 20, 10)
		g := drainTo(t, b, log, newState(), nil)
		g.drained()
		if c == crashed {
			g.state = g.state.survive()
		}
		if c != running {
			g.stop()
		}
		drains[c] = g
	}
	b.Kill()
	for _, g := range drains {
		loseTail(t, b, g.log.id.Stream, 5)
	}
	must(t, b.Start(t.Context()))
	for _, c := range cases {
		t.Run("the drain "+c, func(t *testing.T) {
			g := drains[c]
			ends, err := admin(t, b).ListEndOffsets(within(t, patience), g.log.id.Stream)
			must(t, errors.Join(err, ends.Error()))
			if end, _ := ends.Lookup(g.log.id.Stream, 0); end.Offset != 150 {
				t.Fatalf("upstream ends at %d, the test wants 150 of 200 records left", end.Offset)
			}
			g.log.fill(t, 20, 10)
			if c != running {
				g = drainTo(t, b, g.log, g.state, nil)
			}
			g.drained()
			g.stop()
			expect(t, b, g.log, 0)
			// After a crash nobody knows how far it had been.
			if said := g.said.String(); c != crashed && !strings.Contains(said, "upstream lost records that it had confirmed") {
				t.Errorf("the loss was not said:\n%s", said)
			}
		})
	}
}

// A topic that somebody deleted and made again begins where the cursor is.
func TestTopicMadeAgain(t *testing.T) {
	log := newBacklog(topic(t, shared, "again"), 0)
	log.fill(t, 10, 10)
	g := drainTo(t, shared, log, newState(), nil)
	g.drained()
	a := admin(t, shared)
	_, err := a.DeleteTopic(within(t, patience), log.id.Stream)
	must(t, err)
	for deadline := time.Now().Add(patience); ; time.Sleep(askEvery) {
		topics, err := a.ListTopics(within(t, patience), log.id.Stream)
		must(t, err)
		if !topics.Has(log.id.Stream) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the broker still lists %s, which was deleted", log.id.Stream)
		}
	}
	_, err = a.CreateTopic(within(t, patience), 1, 1, nil, log.id.Stream)
	must(t, err)
	log.fill(t, 10, 10)
	g.drained()
	g.stop()
	expect(t, shared, log, 100)
}

// Records that a consumer has done with are deleted behind the drain's back.
func TestRecordsDeletedUpstream(t *testing.T) {
	log := newBacklog(topic(t, shared, "deleted"), 0)
	log.fill(t, 10, 10)
	g := drainTo(t, shared, log, newState(), nil)
	g.drained()
	crashed := g.state.survive()
	g.stop()
	deleteRecords(t, shared, log.id.Stream)
	log.fill(t, 10, 10)
	g = drainTo(t, shared, log, crashed, nil)
	g.drained()
	g.stop()
	expect(t, shared, log, 100)
}
