package natssink

import (
	"errors"
	"testing"

	"cistern/bridge/drain"
	"cistern/bridge/drain/sinktest"
	"cistern/segstore/batch"
)

// sendAt sends the batch at an offset under a sequence number, and waits.
func (l *lanes) sendAt(lane drain.Lane, offset int64, sequence int32) error {
	l.t.Helper()
	run, err := l.log.Read(offset, nil, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	b, _, err := batch.Next(run)
	if err != nil {
		l.t.Fatal(err)
	}
	h, _ := batch.ParseHeader(b)
	done := make(chan error, 1)
	lane.Send(b, &h, sequence, func(_ int64, err error) { done <- err })
	return <-done
}

// Behind a batch that failed nothing is taken but what has its number: the sender
// may not have heard yet, and its next batches would leave a hole.
func TestNothingOvertakesAFailure(t *testing.T) {
	c := newCentral(t)
	stream := name("order")
	c.stream(stream, atomic_+`,"max_msg_size":3000`)
	log := sinktest.NewLog("s", 0).Fill(t, 1, 5)
	log.AppendRecords(t, 5, func(r *batch.Record) { r.Value = make([]byte, 5000) })
	log.Fill(t, 2, 5)
	l := newLanes(t, c.config(stream), log)
	cursor := drain.NewCursor(0)
	lane := l.open(&cursor)
	if err := l.sendAt(lane, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := l.sendAt(lane, 5, 5); drain.VerdictOf(err) != drain.Refused {
		t.Fatalf("too large: %v", err)
	}
	for range 2 {
		if err := l.sendAt(lane, 10, 10); !errors.Is(err, errWithdrawn) {
			t.Fatalf("what follows the failure: %v", err)
		}
	}
	if err := l.sendAt(lane, 10, 5); err != nil { // the number of what was set aside
		t.Fatal(err)
	}
	if n := len(c.read(stream)); n != 10 {
		t.Errorf("%d messages", n)
	}
}

// A lane whose messages are gone looks before it goes on, whoever has noticed.
func TestLostWhileALaneIsOpen(t *testing.T) {
	c := newCentral(t)
	stream := name("gone")
	c.stream(stream, atomic_)
	log := sinktest.NewLog("s", 0).Fill(t, 4, 1)
	l := newLanes(t, c.config(stream), log)
	first, second := drain.NewCursor(0), drain.NewCursor(3)
	a := l.open(&first)
	for o := range int64(2) {
		if err := l.sendAt(a, o, int32(o)); err != nil {
			t.Fatal(err)
		}
	}
	c.request("$JS.API.STREAM.MSG.DELETE."+stream, `{"seq":2}`)
	l.open(&second) // reads the subject anew
	if err := l.sendAt(a, 2, 2); !errors.Is(err, errUnknownPosition) {
		t.Errorf("sent behind a hole: %v", err)
	}
}
