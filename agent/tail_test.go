package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"cistern/agent/status"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

func (a *Agent) publish(t *testing.T, partition int32, topic, value string) {
	t.Helper()
	a.append(t, metadata.PartitionID{Stream: "mqtt", Partition: partition}, batch.Record{
		Key: []byte("k"), Value: []byte(value), Headers: []batch.RecordHeader{{Key: topicHeader, Value: []byte(topic)}},
	})
}

const twoPartitions = "[[stream]]\nname = 'mqtt'\npartitions = 2\n"

// tailed runs a tail that ends by itself.
func tailed(t *testing.T, a *Agent, q status.TailQuery) (lines []string) {
	t.Helper()
	err := a.Tail(t.Context(), q, func(r *status.TailRecord) error {
		lines = append(lines, fmt.Sprintf("%d/%d %s=%s", r.Partition, r.Offset, r.Topic, *r.Value))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestTailOfWhatIsThere(t *testing.T) {
	a := open(t, twoPartitions)
	a.publish(t, 0, "a/x", "1")
	a.publish(t, 1, "b/x", "2")
	a.publish(t, 0, "a/y", "3")
	for _, test := range []struct {
		q    status.TailQuery
		want []string
	}{
		{status.TailQuery{Filter: "#", Beginning: true}, []string{"0/0 a/x=1", "0/1 a/y=3", "1/0 b/x=2"}},
		{status.TailQuery{Filter: "+/x", Beginning: true}, []string{"0/0 a/x=1", "1/0 b/x=2"}},
		{status.TailQuery{Filter: "#", Beginning: true, Count: 2, Follow: true}, []string{"0/0 a/x=1", "0/1 a/y=3"}},
		{status.TailQuery{Filter: "#"}, nil},
		{status.TailQuery{Filter: "c", Beginning: true}, nil},
	} {
		if got := tailed(t, a, test.q); !slices.Equal(got, test.want) {
			t.Errorf("%+v: got %q, want %q", test.q, got, test.want)
		}
	}
	gone := errors.New("the reader is gone")
	err := a.Tail(t.Context(), status.TailQuery{Filter: "#", Beginning: true}, func(*status.TailRecord) error { return gone })
	if !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}

func TestTailFollows(t *testing.T) {
	a := open(t, twoPartitions)
	a.publish(t, 0, "a", "before")
	ctx, cancel := context.WithCancel(t.Context())
	got, done := make(chan string), make(chan error, 1)
	go func() {
		done <- a.Tail(ctx, status.TailQuery{Filter: "#", Beginning: true, Follow: true}, func(r *status.TailRecord) error {
			got <- *r.Value
			return nil
		})
	}()
	if v := <-got; v != "before" {
		t.Fatalf("got %q", v)
	}
	for i := range 20 { // sometimes while it waits, sometimes while it reads
		want := fmt.Sprint(i)
		a.publish(t, int32(i%2), "a", want)
		if v := <-got; v != want {
			t.Fatalf("got %q, want %q", v, want)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}
