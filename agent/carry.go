package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vmihailenco/msgpack/v5"

	"cistern/bridge/export"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/forward"
	"cistern/segstore/ingest"
)

// What another gateway's records need to come in once: for each partition of an
// export a note on flash, which is durable before a chunk of it is begun. It says
// what was taken, which chunk was begun, and where the logs ended then. When power
// fails in between, the chunk comes again; what is found behind those ends, by its
// header, is there already.
//
// On a site the logs may be on other gateways, and can't be searched here: there a
// chunk that was broken off is taken again whole. The header tells such records.

const (
	importNoteVersion = 1
	// importEndsMax bounds the partitions whose ends are in a note, which has room
	// for as many. A chunk that touches more is not searched for.
	importEndsMax = 128
	// importNotesMax bounds the notes. Each is in the snapshot at the begin of every
	// segment, and all facts of the store together are at most segstore.StateKeysMax.
	importNotesMax = 2048
	// importScanBytes is how much is read at a time to find what is there.
	importScanBytes = 256 << 10
)

// importNote is what is known of one partition of an export.
type importNote struct {
	Version uint8           `msgpack:"v"`
	Next    int64           `msgpack:"next"` // below it everything was confirmed
	Begun   int64           `msgpack:"to"`   // up to here a chunk was begun
	Ends    map[int32]int64 `msgpack:"ends"` // by partition, before it
	Unknown bool            `msgpack:"many"` // the ends were too many
}

// carrier carries records out of this gateway and into it. It implements
// status.Carrier.
type carrier struct {
	*Agent
	last *importWait // of the chunk before; the status server lets one in at a time
}

const importKeys = "import/"

func importKey(c *export.Chunk) string { return importKeys + c.Export + "/" + c.Partition.String() }

// importNote reads what is known, with Next -1 when that is nothing.
func (a *carrier) importNote(c *export.Chunk) (importNote, error) {
	b := a.store.State().Get(importKey(c))
	if b == nil {
		return importNote{Version: importNoteVersion, Next: -1, Begun: -1}, nil
	}
	var n importNote
	if err := msgpack.Unmarshal(b, &n); err != nil || n.Version != importNoteVersion {
		return n, fmt.Errorf("state %s: not understood: it was written by a newer version", importKey(c))
	}
	return n, nil
}

// Imported implements export.Taker.
func (a *carrier) Imported(_ context.Context, c export.Chunk) (int64, error) {
	if _, err := a.importTarget(c.Partition.Stream); err != nil {
		return 0, err
	}
	n, err := a.importNote(&c)
	return n.Next, err
}

func (a *Agent) importTarget(stream string) (metadata.StreamConfig, error) {
	stream = strings.TrimPrefix(stream, forward.ParkedPrefix) // what was parked comes in as what it is
	if !metadata.IsReserved(stream) {
		for _, c := range a.streams() {
			if c.Name == stream {
				return c, nil
			}
		}
	}
	how := "restart the agent"
	if a.site != nil {
		how += "; the site makes it then"
	}
	return metadata.StreamConfig{}, fmt.Errorf("there is no stream %q here: declare it in the configuration ([[stream]] name = %q) and %s", stream, stream, how)
}

// Import implements export.Taker. The status server lets one in at a time.
func (a *carrier) Import(ctx context.Context, c export.Chunk) (int64, error) {
	target, err := a.importTarget(c.Partition.Stream)
	if err != nil {
		return 0, err
	}
	end, touched, err := a.checkChunk(&c, target)
	if err != nil {
		return 0, fmt.Errorf("chunk of %s from offset %d: %w", c.Partition, c.From, err)
	}
	n, err := a.importNote(&c)
	if err != nil {
		return 0, err
	}
	if end <= n.Next {
		return n.Next, nil
	}
	if err := a.roomForNote(&n); err != nil {
		return 0, err
	}
	if err := a.last.wait(ctx); err != nil { // what may still come could not be found
		return 0, err
	}
	c.From = max(c.From, n.Next)
	there := map[arrival]struct{}{}
	if n.Begun > c.From {
		if there, err = a.findImported(ctx, &c, &n, target.Name); err != nil {
			return 0, err
		}
	}
	if err := a.noteBegun(&c, n, target.Name, touched, end); err != nil {
		return 0, err
	}
	if err := a.appendChunk(ctx, &c, target, there); err != nil {
		return 0, err
	}
	n.Next, n.Version = end, importNoteVersion
	if n.Begun <= end {
		n.Begun, n.Ends, n.Unknown = end, nil, false
	}
	b, err := msgpack.Marshal(&n)
	if err != nil {
		return 0, err
	}
	a.store.State().Put(importKey(&c), b) // durable with the next chunk's note, else found again
	return end, nil
}

// checkChunk verifies every batch, and returns the offset behind the last and
// which partitions their records go to.
func (a *Agent) checkChunk(c *export.Chunk, target metadata.StreamConfig) (end int64, touched map[int32]bool, err error) {
	touched = map[int32]bool{}
	err = eachRecord(c, func(r *batch.Record) error {
		if r.Offset < end {
			return fmt.Errorf("offset %d comes behind %d", r.Offset, end-1)
		}
		end = r.Offset + 1
		touched[partitionFor(r, c, target)] = true
		return nil
	})
	if err == nil && end == 0 {
		err = errors.New("it is empty")
	}
	return end, touched, err
}

// eachRecord goes through a chunk's records; they are good during the call.
func eachRecord(c *export.Chunk, do func(r *batch.Record) error) error {
	for rest := c.Batches; len(rest) > 0; {
		one, more, err := batch.Next(rest)
		if err != nil {
			return err
		}
		rest = more
		h, err := batch.Verify(one)
		if err == nil {
			err = h.CheckProduced()
		}
		if err != nil {
			return err
		}
		for r, err := range batch.Records(one, tailBatchMax) {
			if err != nil {
				return err
			}
			if err := do(&r); err != nil {
				return err
			}
		}
	}
	return nil
}

// partitionFor keeps the records of a device together, in as many partitions as
// there are here.
func partitionFor(r *batch.Record, c *export.Chunk, target metadata.StreamConfig) int32 {
	if r.Key == nil {
		return c.Partition.Partition % target.Partitions
	}
	return metadata.PartitionFor(r.Key, target.Partitions)
}

// roomForNote says what to do when n is new and there is no room for another.
func (a *carrier) roomForNote(n *importNote) error {
	if n.Begun >= 0 || len(a.store.State().Keys(importKeys)) < importNotesMax {
		return nil
	}
	return fmt.Errorf("this gateway remembers %d partitions of imports, so that none is taken twice, and has no room for more: "+
		"`cistern import --forget DIR` forgets one whose folder is not needed any more, --forget-all those of all", importNotesMax)
}

// Forget implements status.Carrier.
func (a *carrier) Forget(export string) (int, error) {
	prefix := importKeys
	if export != "" {
		prefix += export + "/"
	}
	n, err := a.store.State().Drop(importKeys, func(key string) bool { return strings.HasPrefix(key, prefix) })
	if err != nil {
		return 0, fmt.Errorf("forgetting imports: %w", err)
	}
	a.log.Info("imports are forgotten: their folders would be taken again", "export", export, "partitions", n)
	return n, nil
}

// noteBegun makes durable that a chunk is begun. Ends of a chunk that was begun
// before and broken off stay: it is searched for from there.
func (a *carrier) noteBegun(c *export.Chunk, was importNote, stream string, touched map[int32]bool, end int64) error {
	n := importNote{Version: importNoteVersion, Next: max(was.Next, c.From), Begun: max(was.Begun, end), Ends: map[int32]int64{}}
	n.Unknown = was.Begun > c.From && was.Unknown
	if was.Begun > c.From {
		for p, offset := range was.Ends {
			n.Ends[p] = offset
		}
	}
	for p := range touched {
		log := a.store.Log(metadata.PartitionID{Stream: stream, Partition: p})
		if _, known := n.Ends[p]; !known && log != nil {
			n.Ends[p] = log.EndOffset()
		}
	}
	if len(n.Ends) > importEndsMax || a.site != nil {
		n.Ends, n.Unknown = nil, true
	}
	b, err := msgpack.Marshal(&n)
	if err != nil {
		return err
	}
	return a.store.State().PutSync(importKey(c), b)
}

// appendChunk hands the records to the journal in order and waits for them.
func (a *carrier) appendChunk(ctx context.Context, c *export.Chunk, target metadata.StreamConfig, there map[arrival]struct{}) error {
	wait := newImportWait()
	a.last = wait
	err := eachRecord(c, func(r *batch.Record) error {
		if r.Offset < c.From {
			return nil
		}
		if len(there) > 0 {
			if _, ok := there[arrivalOf(r.Offset, r)]; ok {
				return nil
			}
		}
		id := metadata.PartitionID{Stream: target.Name, Partition: partitionFor(r, c, target)}
		own := r.Headers
		r.Headers = append(own[:len(own):len(own)], batch.RecordHeader{Key: export.HeaderImported, Value: importedFrom(c, r.Offset)})
		if err := wait.add(); err != nil { // nothing may come behind what failed
			return err
		}
		err := a.ingest.Append(ctx, id, r, wait, 0)
		if errors.Is(err, ingest.ErrTooLarge) { // by the header
			r.Headers = own
			err = a.ingest.Append(ctx, id, r, wait, 0)
		}
		if err != nil {
			wait.Complete(0, -1, err)
			return fmt.Errorf("offset %d: %w", r.Offset, err)
		}
		return nil
	})
	wait.end()
	return errors.Join(err, wait.wait(ctx), wait.failure())
}

// BootsOf returns what a gateway that does not run has known of when machines were
// started: its own, and on a site (image) those of the others.
func BootsOf(state *segstore.State, image *metadata.Image) func(boot string) (unixMs int64, ok bool) {
	own := decodeBoots(state.Get(clocksKey))
	return func(name string) (int64, bool) {
		for _, b := range own {
			if b.name == name && b.at != 0 {
				return b.at, true
			}
		}
		if image == nil {
			return 0, false
		}
		c, ok := image.Clocks[name]
		return c.BootAt, ok
	}
}
