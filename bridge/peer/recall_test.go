package peer

import (
	"bytes"
	"errors"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore/replica"
)

// What flash lost is asked for by a consumer's Fetch: it never reaches those who
// serve followers, and everything that is said of it arrives.
func TestRecall(t *testing.T) {
	id := metadata.PartitionID{Stream: "s", Partition: 3}
	var asked *replica.RecallRequest
	answer := &replica.RecallAnswer{}
	to, _ := plain(t, &Server{Service: &service{recall: func(r *replica.RecallRequest) *replica.RecallAnswer {
		asked = r
		return answer
	}}}, 2)
	p := started(t, Config{})
	for name, said := range map[string]*replica.RecallAnswer{
		"records":  {Records: bytes.Repeat([]byte("x"), 1000)},
		"damaged":  {Err: replica.ErrCorrupt, Resume: 30},
		"expired":  {Err: replica.ErrOffsetOutOfRange, Resume: 1 << 40},
		"not now":  {Err: replica.ErrNoLeader},
		"no trace": {Err: replica.ErrOffsetOutOfRange},
	} {
		answer = said
		got, err := p.Recall(t.Context(), to, &replica.RecallRequest{Partition: id, Offset: 17, MaxBytes: 5000})
		if err != nil {
			t.Fatal(name, err)
		}
		if *asked != (replica.RecallRequest{Partition: id, Offset: 17, MaxBytes: 5000}) {
			t.Errorf("%s: asked for %+v", name, asked)
		}
		if !errors.Is(got.Err, said.Err) || got.Resume != said.Resume || !bytes.Equal(got.Records, said.Records) {
			t.Errorf("%s: %+v instead of %+v", name, got, said)
		}
	}
}

// A gateway of an older version refuses: that is no word on what it has.
func TestRecallFromOlder(t *testing.T) {
	id := metadata.PartitionID{Stream: "s"}
	req := recallRequest(&replica.RecallRequest{Partition: id, Offset: 17, MaxBytes: 5000})
	r := readFetchRequest(req)
	resp := fetchResponse(&replica.FetchAnswer{Partitions: []replica.FetchedPartition{{Partition: r.Partitions[0].Partition, Err: replica.ErrNotLeader}}})
	if got := readRecallResponse(resp, id, "far"); !errors.Is(got.Err, replica.ErrNotLeader) {
		t.Errorf("%+v", got)
	}
	if got := readRecallResponse(fetchResponse(nil), id, "far"); got.Err == nil || errors.Is(got.Err, replica.ErrOffsetOutOfRange) || errors.Is(got.Err, replica.ErrCorrupt) {
		t.Errorf("nothing said counts as an answer: %+v", got)
	}
	// What the older version makes of it is a follower that it does not know, in an
	// epoch before all others.
	if p := r.Partitions[0]; r.Node != -1 || p.LeaderEpoch != -1 || p.Drained != 0 {
		t.Errorf("an older version may take it for a follower's: %+v", r)
	}
}
