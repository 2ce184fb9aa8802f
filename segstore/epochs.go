package segstore

import (
	"encoding/binary"
	"fmt"
	"sort"

	"cistern/gossip/metadata"
)

// epochCache knows where each leader epoch of a partition begins: what Kafka
// keeps in its leader-epoch checkpoint (KIP-101).
type epochCache []epochStart

type epochStart struct {
	Epoch int32
	Start int64
}

// last returns the newest epoch, -1 when there is none.
func (c epochCache) last() int32 {
	if len(c) == 0 {
		return -1
	}
	return c[len(c)-1].Epoch
}

// assign notes that epoch begins at start; older and known ones are ignored.
func (c *epochCache) assign(epoch int32, start int64) {
	if epoch > c.last() {
		*c = append(*c, epochStart{epoch, start})
	}
}

// cut forgets the epochs that begin at offset or above.
func (c *epochCache) cut(offset int64) {
	keep := sort.Search(len(*c), func(i int) bool { return (*c)[i].Start >= offset })
	*c = (*c)[:keep]
}

// advance forgets the epochs that ended at or below the log start.
func (c *epochCache) advance(start int64) {
	for len(*c) > 1 && (*c)[1].Start <= start {
		*c = (*c)[1:]
	}
}

// endOffset answers OffsetForLeaderEpoch: the largest known epoch not above
// the one asked for, and where it ends (the next epoch's start, or end).
func (c epochCache) endOffset(epoch int32, end int64) (int32, int64) {
	i := sort.Search(len(c), func(i int) bool { return c[i].Epoch > epoch })
	if i == 0 {
		return -1, -1
	}
	if i < len(c) {
		end = c[i].Start
	}
	return c[i-1].Epoch, end
}

// epochKV is one line of a partition's epoch history.
func epochKV(p metadata.PartitionID, epoch int32, start int64) KV {
	return KV{bucketEpochs, fmt.Sprintf("%s/%010d", p, epoch), binary.BigEndian.AppendUint64(nil, uint64(start))}
}
