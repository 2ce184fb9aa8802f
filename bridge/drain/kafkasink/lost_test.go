package kafkasink

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"

	"cistern/bridge/drain"
)

// TestUpstreamLostBehindOthers: the cluster lost records that it had confirmed,
// and others have written since, so that its end does not tell. The sequence
// does not fit, and what is still here is sent again.
func TestUpstreamLostBehindOthers(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "behind"), kfake.MaxVersions(kversion.V2_7_0()))
	log, other := newLog("behind", 0).fill(t, 6, 10), newLog("behind", 1).fill(t, 30, 10)
	state := newState()
	g := c.gateway(setup{state: state}, log)
	g.drained(log)
	g.stop()
	log.fill(t, 6, 10)
	// Records 60 to 99 were confirmed, and are not there any more.
	key, cursor := cursorOf(t, state, log)
	cursor.Position, cursor.Upstream, cursor.InDoubt = 100, 100, false
	if err := state.PutSync(key, drain.EncodeCursor(cursor)); err != nil {
		t.Fatal(err)
	}
	g = c.gateway(setup{state: state}, other)
	g.drained(other)
	g.stop()
	var said bytes.Buffer
	g = c.gateway(setup{state: state, logger: slog.New(slog.NewTextHandler(&said, nil))}, log)
	g.until("it goes on", func(s drain.Status) bool { return s.Throughput.Records >= 60 })
	g.drained(log)
	g.stop()
	c.expectEach("behind", 0, "lost behind others", log, other)
	if !strings.Contains(said.String(), "upstream lost records") {
		t.Errorf("it was not said: %s", said.String())
	}
}

// TestMadeAnewInDoubt: a topic was deleted and made again while a drainer was at
// work, which went on in the new one, and crashed. Its successor must not send
// that again under another id.
func TestMadeAnewInDoubt(t *testing.T) {
	t.Parallel()
	c := fakeCentral(t, kfake.SeedTopics(1, "anew"))
	log := newLog("anew", 0).fill(t, 10, 10)
	g := c.gateway(setup{}, log)
	g.drained(log)
	state := g.state
	g.stop()
	key, cursor := cursorOf(t, state, log)
	cursor.Position, cursor.Upstream, cursor.InDoubt = 30, 3000, true
	cursor.Target.TopicID = [16]byte{1, 2, 3} // of the old one
	if err := state.PutSync(key, drain.EncodeCursor(cursor)); err != nil {
		t.Fatal(err)
	}
	log.fill(t, 5, 10)
	g = c.gateway(setup{state: state}, log)
	g.drained(log)
	s := g.drainer.Status().Partitions[0]
	g.stop()
	c.expect("anew", 0, log.id, offsets(0, 150))
	if s.Incarnation != 1 {
		t.Errorf("incarnation %d, want the first one", s.Incarnation)
	}
}
