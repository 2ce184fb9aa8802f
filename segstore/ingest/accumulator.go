package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// Limits of what waits in memory.
const (
	PendingBytesDefault = 8 << 20  // of one lane, uncompressed; Append blocks above it
	HeldRecordsMax      = 64 << 10 // of one lane: parked, and their senders wait; Append refuses above it
	outstandingMax      = 2        // commits of one lane that are built, written or answered

	journalPumpsMax     = 8 // of one lane, with a Journal
	journalPendingShare = 4 // of PendingBytesMax that each of them may take
)

// Config of an Accumulator.
type Config struct {
	Store *segstore.Store

	// Journal takes the batches on a site of several gateways; nil: the Store
	// does.
	Journal Journal

	// PendingBytesMax bounds the records of one lane that wait for a commit
	// or its answer; 0 is PendingBytesDefault. Append blocks above it.
	PendingBytesMax int

	// DailyWriteBudget is what streams with commit_window = "auto" may write
	// to flash in a day, in bytes; 0 is no limit, and a window of 0.
	DailyWriteBudget int64

	Logger *slog.Logger
}

// Accumulator collects records for every partition of one store.
type Accumulator struct {
	cfg    Config
	budget *budget

	mu         sync.RWMutex
	partitions map[metadata.PartitionID]*partition
	pumps      map[string]*pump // by pumpName
	stopped    bool
	wg         sync.WaitGroup
}

// partition is where records of one partition collect. Its fields from config
// on belong to the pump's lock.
type partition struct {
	id   metadata.PartitionID
	log  *segstore.Log // nil when there is a Journal
	pump *pump

	config metadata.StreamConfig
	open   *part // what the next record joins, nil when nothing waits
	late   int   // batches without an answer that no group waits for any more
}

// New returns an Accumulator; it works until Close.
func New(cfg Config) *Accumulator {
	if cfg.PendingBytesMax == 0 {
		cfg.PendingBytesMax = PendingBytesDefault
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Accumulator{
		cfg:        cfg,
		budget:     newBudget(cfg.DailyWriteBudget, cfg.Store.Stats),
		partitions: map[metadata.PartitionID]*partition{},
		pumps:      map[string]*pump{},
	}
}

// Append takes a record for partition p; c.Complete(seq, …) follows when it is
// durable or can't be. A nil c is told nothing. The record and its slices may
// be reused at once.
//
// It blocks while PendingBytesMax are waiting, until there is room or ctx ends.
// An error (ErrFull, ErrTooLarge, ErrUnavailable, ErrUnknownPartition, or ctx's)
// means the record was not taken.
func (a *Accumulator) Append(ctx context.Context, p metadata.PartitionID, r *batch.Record, c Completion, seq uint64) error {
	part, err := a.partition(p)
	if err != nil {
		return err
	}
	if part.log != nil {
		switch part.log.Condition() {
		case segstore.Full:
			return fmt.Errorf("%s: %w", p, ErrFull)
		case segstore.Latched:
			return fmt.Errorf("%s: %w", p, ErrUnavailable)
		}
	}
	return part.pump.append(ctx, part, r, c, seq)
}

func (a *Accumulator) partition(id metadata.PartitionID) (*partition, error) {
	a.mu.RLock()
	p, stopped := a.partitions[id], a.stopped
	a.mu.RUnlock()
	if stopped {
		return nil, ErrUnavailable
	}
	if p != nil {
		return p, nil
	}
	return a.addPartition(id)
}

func (a *Accumulator) addPartition(id metadata.PartitionID) (*partition, error) {
	config, log, err := a.lookUp(id)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return nil, ErrUnavailable
	}
	if p := a.partitions[id]; p != nil {
		return p, nil
	}
	name := a.pumpName(id, config.Lane)
	u := a.pumps[name]
	if u == nil {
		u = newPump(a)
		a.pumps[name] = u
		a.wg.Add(2)
		go u.seal()
		if a.cfg.Journal == nil {
			go u.finish()
		} else {
			go u.answer()
		}
	}
	p := &partition{id: id, log: log, pump: u, config: config}
	a.partitions[id] = p
	return p, nil
}

// pumpName says which partitions share a pump. What goes into one journal here
// shares its commit, so there is one pump for each lane. What goes to a Journal
// is answered by the gateway that leads the partition, and should wait for no
// other: there it is one for each of them. When leaderships move later,
// partitions stay where they are, which costs some waiting and no more.
func (a *Accumulator) pumpName(p metadata.PartitionID, lane string) string {
	if a.cfg.Journal == nil {
		return lane
	}
	return fmt.Sprintf("%s/%d", lane, uint(a.cfg.Journal.Together(p))%journalPumpsMax)
}

// pendingMax is one pump's part of what may wait in memory. Pumps of one lane
// are not all full at once, as a rule.
func (a *Accumulator) pendingMax() int {
	if a.cfg.Journal == nil {
		return a.cfg.PendingBytesMax
	}
	return a.cfg.PendingBytesMax / journalPendingShare
}

// lookUp returns what is known of a partition; log is nil when there is a
// Journal.
func (a *Accumulator) lookUp(id metadata.PartitionID) (c metadata.StreamConfig, log *segstore.Log, err error) {
	known := false
	if a.cfg.Journal != nil {
		c, known = a.cfg.Journal.Stream(id.Stream)
		known = known && id.Partition >= 0 && id.Partition < c.Partitions
	} else {
		log = a.cfg.Store.Log(id)
		c, known = a.cfg.Store.Stream(id.Stream)
		known = known && log != nil
	}
	if !known {
		return c, nil, fmt.Errorf("%s: %w", id, ErrUnknownPartition)
	}
	return c, log, nil
}

// look sees, once per batch, what the site says of a partition now.
func (a *Accumulator) look(p *partition) (err error) {
	if a.cfg.Journal == nil {
		return nil
	}
	lane := p.config.Lane
	if p.config, _, err = a.lookUp(p.id); err != nil {
		return err
	}
	p.config.Lane = lane // whose pump this is
	if err := a.cfg.Journal.Refuses(p.id); err != nil {
		return fmt.Errorf("%s: %w", p.id, err)
	}
	return nil
}

// Close commits what waits, answers it, and returns when all goroutines have.
// Appends after it fail with ErrUnavailable. A Journal has closeWait for its
// answers; what it has not confirmed by then is answered with ErrUnavailable.
func (a *Accumulator) Close() {
	a.mu.Lock()
	a.stopped = true
	for _, u := range a.pumps {
		u.stop()
	}
	a.mu.Unlock()
	a.wg.Wait()
}

// cause translates the journal's refusals into ours.
func cause(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, segstore.ErrFull):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, segstore.ErrTooLarge), errors.Is(err, batch.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
