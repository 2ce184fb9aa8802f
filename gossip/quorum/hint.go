package quorum

import (
	"errors"

	"github.com/hashicorp/raft"

	"cistern/gossip/metadata"
)

// Hint returns the image as it would be if everything in this gateway's log
// were agreed upon. Raft knows that only once it is in touch with a majority;
// a gateway that starts alone still wants to know which streams there are.
// Nothing may be decided by it. Call it after Open, before Run.
func (q *Quorum) Hint() *metadata.Image {
	image := q.Image()
	last, err := q.store.LastIndex()
	if err != nil {
		return image
	}
	for index := image.Index + 1; index <= last; index++ {
		var l raft.Log
		if err := q.store.GetLog(index, &l); errors.Is(err, raft.ErrLogNotFound) {
			continue // below a snapshot
		} else if err != nil {
			return image
		}
		if l.Type != raft.LogCommand {
			continue
		}
		c, err := decodeChange(l.Data)
		if err != nil {
			return image
		}
		next, _, err := applyGuarded(image, index, c)
		if err != nil {
			return image
		}
		image = next
	}
	return image
}

// Close lets go of the file of a Quorum that never ran; Run does so itself.
func (q *Quorum) Close() error {
	select {
	case <-q.stopped:
		return nil
	default:
	}
	if _, ran := q.running(); ran {
		return nil
	}
	return q.store.close()
}
