package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"cistern/gossip/metadata"
)

// drainSizes are batches by what a commit may have gathered. The last is not
// compressed: a batch has at most 1,000,000 bytes before compression.
var drainSizes = []struct {
	records int
	codec   metadata.Codec
}{
	{10, metadata.CodecZstd},
	{50, metadata.CodecZstd},
	{250, metadata.CodecZstd},
	{1000, metadata.CodecZstd},
	{4000, metadata.CodecZstd},
	{4000, metadata.CodecNone},
}

// batchesMax bounds a cell with small batches, drainBytes one with large ones.
const (
	batchesMax = 20_000
	drainBytes = 512 << 20
)

// drainCPU compares what the verbatim drain costs with the floor under it, and
// with a drain that decodes and encodes.
func drainCPU(ctx context.Context, p *plan) error {
	t := newTable(p.out, "CPU of the drain", "Of the sending process; the broker is a stub in another. µs per KiB of stored batches, "+
		"median of "+fmt.Sprint(p.rounds)+" rounds. \"Over\" is over reading the log and sending the same requests; records per CPU second are thousands.",
		"stored batch", "records", "read and send", "verbatim", "over, µs/KiB", "over, µs/batch", "merged", "franz-go", "verbatim, krec/CPU s", "merged, krec/CPU s", "franz-go, krec/CPU s", "verbatim to franz-go", "merged to franz-go")
	for _, size := range drainSizes {
		cell := DrainCell{Records: size.records, Codec: size.codec}
		took := map[string]Drained{}
		for _, way := range []string{"read and send", "verbatim", "merged", "decoded, franz-go"} {
			cell.Way, cell.Bytes = way, drainAmount(p, size.records, way)
			var err error
			if took[way], err = medianDrain(ctx, p, cell); err != nil {
				return err
			}
		}
		floor, ours, merged, theirs := took["read and send"], took["verbatim"], took["merged"], took["decoded, franz-go"]
		over := perKiB(ours) - perKiB(floor)
		mean := float64(ours.Stored) / float64(ours.Batches) / 1024
		t.row(fmt.Sprintf("%.1f KiB %s", mean, size.codec), fmt.Sprint(size.records), fmt.Sprintf("%.2f", perKiB(floor)),
			fmt.Sprintf("%.2f", perKiB(ours)), fmt.Sprintf("%.2f", over), fmt.Sprintf("%.1f", over*mean), fmt.Sprintf("%.1f", perKiB(merged)), fmt.Sprintf("%.1f", perKiB(theirs)),
			count(perCPU(ours)/1000), count(perCPU(merged)/1000), count(perCPU(theirs)/1000),
			fmt.Sprintf("%.1f", perCPU(ours)/perCPU(theirs)), fmt.Sprintf("%.1f", perCPU(merged)/perCPU(theirs)))
	}
	return nil
}

// drainAmount is how much a cell sends: what decodes takes long for little.
func drainAmount(p *plan, records int, way string) int64 {
	n := min(drainBytes, int64(records)*50*batchesMax)
	if way == "decoded, franz-go" || way == "merged" {
		n = min(n, 32<<20)
	}
	if p.quick {
		n /= 16
	}
	return n
}

func perKiB(d Drained) float64 { return float64(d.CPU.Microseconds()) / (float64(d.Stored) / 1024) }
func perCPU(d Drained) float64 { return float64(d.Records) / d.CPU.Seconds() }

// medianDrain runs a cell as often as the plan says.
func medianDrain(ctx context.Context, p *plan, c DrainCell) (Drained, error) {
	var all []Drained
	for range p.rounds {
		s, err := newStub()
		if err != nil {
			return Drained{}, err
		}
		c.Broker = s.address()
		limited, cancel := context.WithTimeout(ctx, 2*time.Minute)
		d, err := inChild[DrainCell, Drained](limited, "drain", c)
		cancel()
		s.close()
		if err != nil {
			return d, err
		}
		if got := s.take(); got.Records != d.Records {
			return d, fmt.Errorf("%s: %d records arrived of %d", c.Way, got.Records, d.Records)
		}
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b Drained) int { return int(a.CPU - b.CPU) })
	return all[len(all)/2], nil
}
