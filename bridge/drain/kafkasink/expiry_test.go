package kafkasink

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"cistern/gossip/porttest"
)

// TestExpired: a gateway crashed with everything in doubt, and the cluster has
// forgotten its producer id since. A broker would take any sequence number now:
// only the records upstream can say where to go on.
func TestExpired(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opts := []kfake.Opt{kfake.Ports(porttest.Number(t)), kfake.DataDir(dir), kfake.SyncWrites()}
	c := fakeCentral(t, opts...)
	c.create("expired", 1)
	log := newLog("expired", 0).fill(t, 30, 10)
	g := c.gateway(setup{}, log)
	g.drained(log)
	crashed := g.state.survive(false) // what a crash at this moment leaves
	g.stop()
	if _, cursor := cursorOf(t, crashed, log); cursor.Position != 0 || !cursor.InDoubt {
		t.Fatalf("the crash left %+v, want everything in doubt", cursor)
	}

	c.fake.Close()
	for _, name := range []string{"pids.log", "seq_windows.json"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	again := fakeCentral(t, opts...)
	log.fill(t, 10, 10)
	g = again.gateway(setup{state: crashed}, log)
	g.drained(log)
	g.stop()
	again.expect("expired", 0, log.id, offsets(0, 400))
}
