package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cistern/bridge/drain"
)

// quarantineBytesMax bounds what is set aside. Above it the drain of a
// partition with poison stops instead: that much is a topic set up wrong.
const quarantineBytesMax = 64 << 20

// quarantine keeps batches that the centre refuses for good as files in a folder
// of their own: NAME.batch as it was stored, and NAME.json which says why. The
// records in it can be read with `cistern dump`, and are never deleted by the
// agent.
type quarantine struct {
	folder string
	log    *slog.Logger

	mu   sync.Mutex
	used int64
}

func openQuarantine(data string, log *slog.Logger) (*quarantine, error) {
	q := &quarantine{folder: filepath.Join(data, "quarantine"), log: log}
	entries, err := os.ReadDir(q.folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tmpPrefix) {
			if err := os.Remove(filepath.Join(q.folder, e.Name())); err != nil { // a crash left it
				return nil, err
			}
		} else if info, err := e.Info(); err == nil {
			q.used += info.Size()
		}
	}
	return q, nil
}

const tmpPrefix = ".new-"

// verdict is the .json beside a batch.
type verdict struct {
	Stream      string    `json:"stream"`
	Partition   int32     `json:"partition"`
	FirstOffset int64     `json:"first_offset"`
	LastOffset  int64     `json:"last_offset"`
	Reason      string    `json:"reason"`
	Detail      string    `json:"detail"`
	Time        time.Time `json:"time"`
}

// Add implements drain.Quarantine: both files are on flash when it returns.
func (q *quarantine) Add(p drain.Poison) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	why, err := json.MarshalIndent(verdict{
		p.Partition.Stream, p.Partition.Partition, p.FirstOffset, p.LastOffset, p.Reason, p.Detail, p.Time,
	}, "", "  ")
	if err != nil {
		return err
	}
	size := int64(len(p.Batch) + len(why))
	if q.used+size > quarantineBytesMax {
		return fmt.Errorf("quarantine %s holds %d bytes, %d more would pass its limit of %d; look at what is there, and move it away",
			q.folder, q.used, size, quarantineBytesMax)
	}
	if err := os.MkdirAll(q.folder, 0o700); err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%d-%d-%d", p.Partition.Stream, p.Partition.Partition, p.FirstOffset, p.LastOffset)
	err = errors.Join(q.write(name+".batch", p.Batch), q.write(name+".json", append(why, '\n')), syncFolder(q.folder))
	if err != nil {
		return fmt.Errorf("quarantine: %w", err)
	}
	q.used += size
	q.log.Warn("records set aside", "partition", p.Partition, "first", p.FirstOffset, "last", p.LastOffset,
		"reason", p.Reason, "detail", p.Detail, "file", filepath.Join(q.folder, name+".batch"))
	return nil
}

func (q *quarantine) write(name string, data []byte) error {
	f, err := os.CreateTemp(q.folder, tmpPrefix)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), filepath.Join(q.folder, name))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
