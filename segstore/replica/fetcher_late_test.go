package replica

import (
	"fmt"
	"testing"

	"cistern/segstore"
)

// TestLateCopy: what a former leader sent is refused by the gateway that leads by
// now. That is no reason to resign: nobody would lead until the next epoch.
func TestLateCopy(t *testing.T) {
	w := newTown(t, 3, 1, 2)
	leader := w.leader(townStream)
	l := leader.m.local(townStream)
	late := []segstore.Entry{{Log: l.log, Verbatim: true, Err: fmt.Errorf("comes late: %w", ErrFencedLeaderEpoch)}}
	if err := l.copied(copying{l: l}, late); err == nil {
		t.Fatal("a refusal is not reported")
	}
	if _, role := leader.m.Keeps(townStream); role != RoleLeader {
		t.Fatalf("after a late copy it is %v", role)
	}
	w.insist((&producerDouble{id: 1}).batch(t, 1), townStream)
}
