package replica

import "slices"

// watermark is the commit rule, alone: where the high watermark stands after
// it stood at now.
//
// ends are the synced log ends of every replica that may be in sync, the
// leader's own among them, -1 for one that has not been heard of; isr is how
// many the controller has confirmed. The lowest end counts. With fewer than
// minInsync in sync it stands still, so that nobody is shown a record that
// one power cut can take away (KIP-966).
func watermark(now int64, ends []int64, isr, minInsync int) int64 {
	if isr < minInsync || len(ends) == 0 {
		return now
	}
	return max(now, slices.Min(ends))
}
