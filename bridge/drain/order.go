package drain

import (
	"context"
	"errors"

	"cistern/gossip/metadata"
)

// errNotYet is replaced by whoever builds the drain's core.
var errNotYet = errors.New("not built yet")

// Order says what goes first after an outage.
type Order uint8

const (
	// OrderStrict sends a partition's records in the order of their offsets.
	OrderStrict Order = iota
	// OrderLiveFirst sends new records at once, and what an outage left behind
	// beside them. Order holds within each of these flows, not across them.
	OrderLiveFirst
)

// Pause stops or resumes the drain of a partition. It is remembered with the
// cursor, so it outlives this process and holds for whoever drains next.
func (d *Drainer) Pause(ctx context.Context, p metadata.PartitionID, on bool) error { return errNotYet }

// Skipped is what Skip has given up, or would.
type Skipped struct {
	First   int64 `json:"first_offset"`
	Next    int64 `json:"next_offset"` // behind the last
	Records int64 `json:"records"`
}

// Skip gives up a partition's records below offset to, which is a batch's
// boundary or is moved down to one: they will not be sent by this drain, and
// count as skipped. With try nothing happens.
func (d *Drainer) Skip(ctx context.Context, p metadata.PartitionID, to int64, why string, try bool) (Skipped, error) {
	return Skipped{}, errNotYet
}
