package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"cistern/bridge/export"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
)

// arrival is a record that came in with an import: its offset at the gateway it
// comes from, and what is in it. Gateways on their own may share the name of a site
// (it has a default), and then the offset alone is not one record.
type arrival struct {
	offset int64
	sum    [sha256.Size]byte
}

func arrivalOf(offset int64, r *batch.Record) arrival {
	b := binary.BigEndian.AppendUint64(nil, uint64(r.Timestamp))
	b = binary.BigEndian.AppendUint64(b, uint64(len(r.Key)))
	return arrival{offset, sha256.Sum256(append(append(b, r.Key...), r.Value...))}
}

// findImported returns the records of a broken-off chunk that are here, in a stream.
func (a *carrier) findImported(ctx context.Context, c *export.Chunk, n *importNote, stream string) (map[arrival]struct{}, error) {
	found := map[arrival]struct{}{}
	if n.Unknown {
		a.log.Warn("an import was broken off and goes on: some of its records may be stored twice; the header "+export.HeaderImported+" tells them",
			"from", c.Site+"/"+c.Partition.String(), "first", c.From, "last", n.Begun-1)
		return found, nil
	}
	for p, from := range n.Ends {
		log := a.store.Log(metadata.PartitionID{Stream: stream, Partition: p})
		if log == nil {
			continue
		}
		if err := findIn(ctx, log, from, c, found); err != nil {
			return nil, fmt.Errorf("looking in %s for what an import left: %w", log.Partition(), err)
		}
	}
	return found, nil
}

func findIn(ctx context.Context, log *segstore.Log, from int64, c *export.Chunk, found map[arrival]struct{}) error {
	var buf []byte
	var err error
	for next := max(from, log.StartOffset()); next < log.HighWatermark(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf, err = log.Read(next, buf[:0], importScanBytes)
		var lost *segstore.CorruptError
		if errors.As(err, &lost) {
			next = lost.LastOffset + 1
			continue
		}
		if err != nil || len(buf) == 0 {
			return err
		}
		whole := export.Chunk{Batches: buf}
		if err := eachRecord(&whole, func(r *batch.Record) error {
			next = r.Offset + 1
			for i := range r.Headers {
				if r.Headers[i].Key != export.HeaderImported {
					continue
				}
				if offset, ok := isFrom(c, r.Headers[i].Value); ok {
					found[arrivalOf(offset, r)] = struct{}{}
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// importedFrom is the header of a record that came in with a chunk.
func importedFrom(c *export.Chunk, offset int64) []byte {
	b := fmt.Appendf(nil, "%s/%s/%d", c.Site, c.Partition, offset)
	if c.Gateway != "" {
		b = append(append(b, '/'), c.Gateway...)
	}
	return b
}

// isFrom says whether a header is of a record of the chunk's partition, and its
// offset there. Formerly the header did not name the gateway.
func isFrom(c *export.Chunk, header []byte) (offset int64, ok bool) {
	rest, ok := bytes.CutPrefix(header, fmt.Appendf(nil, "%s/%s/", c.Site, c.Partition))
	number, gateway, named := bytes.Cut(rest, []byte("/"))
	offset, err := strconv.ParseInt(string(number), 10, 64)
	return offset, ok && err == nil && (!named || string(gateway) == c.Gateway)
}
