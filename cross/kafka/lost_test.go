//go:build kafka

package kafka

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

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
	must(t, err)
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
	for _, c := range []struct {
		name    string
		running bool // the drain, while the broker is down
		crash   bool // the drain remembers only what was durable
	}{{"the drain goes on", true, false}, {"the drain is started anew", false, false}, {"the drain has crashed", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			log := newBacklog(topic(t, b, "lost"), 0)
			log.fill(t, 20, 10)
			g := drainTo(t, b, log, newState(), nil)
			g.drained()
			st := g.state
			if c.crash {
				st = st.survive()
			}
			if !c.running {
				g.stop()
			}
			b.Kill()
			loseTail(t, b, log.id.Stream, 5)
			must(t, b.Start(t.Context()))
			log.fill(t, 20, 10)
			if !c.running {
				g = drainTo(t, b, log, st, nil)
			}
			g.drained()
			g.stop()
			expect(t, b, log, 0)
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
