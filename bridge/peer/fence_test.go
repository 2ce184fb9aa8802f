package peer

import (
	"context"
	"sync"
	"testing"
	"time"

	"cistern/bridge/kafka"
	"cistern/gossip/metadata"
	"cistern/gossip/port"
	"cistern/segstore/replica"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestLateProduce: what a killed process had written comes when its gateway's next
// one has produced already (scenario 6 with a cut that is mended: seen there). It
// must not get behind what is newer, also if it is the first to produce on its
// connection.
func TestLateProduce(t *testing.T) {
	var mu sync.Mutex
	var got []int
	near, far := secure(t, &service{produce: func(batches []*replica.Append) {
		mu.Lock()
		got = append(got, number(batches[0]))
		mu.Unlock()
		confirm(batches)
	}})
	silent, former, newer := produceTo(t, near, far), produceTo(t, near, far), produceTo(t, near, far)
	if err := former(1); err != nil {
		t.Fatal(err)
	}
	if err := newer(2); err != nil {
		t.Fatal(err)
	}
	for name, late := range map[string]func(int) error{"one that has produced": former, "one that has not": silent} {
		if err := late(3); err == nil {
			t.Errorf("%s produces although there is a newer connection", name)
		}
	}
	if err := newer(4); err != nil {
		t.Errorf("the newest connection: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(got) != 3 || got[0] != 1 || got[1] != 2 || got[2] != 4 {
		t.Errorf("the service got %v, want 1, 2 and 4", got)
	}
}

// produceTo opens a connection and returns a function that produces on it and waits
// for the answer.
func produceTo(t *testing.T, near *port.Port, far metadata.Member) func(n int) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	nc, err := near.Dial(ctx, far.Address, Protocol)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := kafka.Open(ctx, nc, int32(far.ID), far.Address, kafka.Config{ClientID: "near"}, speaks)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); <-conn.Done() })
	return func(n int) error {
		answer := make(chan error, 1)
		a := &replica.Append{Partition: metadata.PartitionID{Stream: "s"}, Batch: []byte{byte('0' + n), ' '}, Acks: metadata.AcksAll}
		var enc encoder
		err := conn.Start(enc.request([]*replica.Append{a}), func(_ kmsg.Response, err error) { answer <- err })
		if err != nil {
			return err
		}
		return <-answer
	}
}
