package agent

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cistern/agent/status"
	"cistern/firmware/board"
)

// disksMax bounds the disks whose wear is counted: each has a fact of its own in
// the store.
const disksMax = 8

// looks is what was seen of the board last.
type looks struct {
	root    string // of /sys and /proc; "" is the machine's own
	journal int64  // what the journal had written at the last look

	mu   sync.Mutex
	last *status.Board // nil before the first look
}

// facts is where counts are kept: segstore.State. What is Put rides along with a
// commit that happens anyway, so that counting what is written writes nothing.
type facts interface {
	Get(key string) []byte
	Put(key string, value []byte)
}

// lookAtBoard looks at the board, again and again, until ctx ends.
func (a *Agent) lookAtBoard(ctx context.Context) error {
	tick := time.NewTicker(a.config.Board.LookEvery)
	defer tick.Stop()
	for {
		a.looks.look(a.store.State(), a.powerFail, journalWrites{a.dataOn, a.store.Stats().BytesWritten})
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (l *looks) look(f facts, p *status.PowerFail, j journalWrites) {
	r := board.Look(l.root)
	b := &status.Board{Model: r.Machine.Model, Serial: r.Machine.Serial, Temperatures: r.Temperatures, Supply: r.Supply,
		Disks: []status.Disk{}, PowerFail: p}
	own := j.bytes - l.journal
	l.journal = j.bytes
	for i := range r.Disks {
		d, mine := status.Disk{Disk: r.Disks[i]}, int64(0)
		if d.Device == j.disk {
			mine = own
		}
		if d.ID() != "" && i < disksMax {
			l.count(f, &d, r.Uptime, mine)
		}
		b.Disks = append(b.Disks, d)
	}
	l.mu.Lock()
	l.last = b
	l.mu.Unlock()
}

// count adds what the disk was written since it was looked at last. A new card has
// a name that is not known, and starts anew.
func (l *looks) count(f facts, d *status.Disk, uptime float64, own int64) {
	key := "wear/" + d.ID()
	var was wear
	if text := f.Get(key); text != nil && json.Unmarshal(text, &was) != nil {
		was = wear{} // written by nobody we know
	}
	is, err := was.next(&d.Disk, l.boot(), uptime, own)
	if err != nil {
		d.WrittenEver = was.Bytes
		return
	}
	d.WrittenEver = is.Bytes
	if uptime > 0 { // else nothing is known of a day
		d.Lately = l.lately(f, d.ID(), &is)
	}
	// While nothing is written nothing is kept: the next look finds the same.
	if is.Boot != was.Boot || is.Bytes != was.Bytes || is.Own != was.Own {
		put(f, key, &is)
	}
}

func put(f facts, key string, v any) {
	if text, err := json.Marshal(v); err == nil {
		f.Put(key, text)
	}
}

// boot names this boot of the machine, "" where it has no name.
func (l *looks) boot() string {
	id, _ := os.ReadFile(filepath.Join("/", l.root, "proc/sys/kernel/random/boot_id"))
	return strings.TrimSpace(string(id))
}

// seen is the board for a status; nil before the first look.
func (l *looks) seen() *status.Board {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		return nil
	}
	b := *l.last
	return &b
}

// describeBoard adds to a status what there is to say of the board.
func (a *Agent) describeBoard(d *status.Document) {
	b := a.looks.seen()
	if b == nil {
		return
	}
	b.Problems = a.life.problems()
	if a.life != nil && a.life.config.Board.Wiring().LED != nil {
		b.Pattern = a.life.board.Shown().String()
	}
	b.DataOn = a.dataOn
	d.Board = b
}

// dataDisk names the disk that a folder lies on, "" when it is on no single one.
func dataDisk(root, folder string) string {
	full, err := filepath.Abs(folder)
	if err == nil {
		full, err = filepath.EvalSymlinks(full)
	}
	if err != nil {
		return ""
	}
	disk, err := board.HolderOf(root, full)
	if err != nil {
		return ""
	}
	return disk
}
