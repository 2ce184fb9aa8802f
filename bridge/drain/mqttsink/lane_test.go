package mqttsink

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"cistern/bridge/drain"
	"cistern/bridge/drain/sinktest"
	"cistern/segstore/batch"
)

// Behind a batch that failed nothing is taken but what has its number: the sender
// may not have heard yet, and its next batches would overtake.
func TestNothingOvertakesAFailure(t *testing.T) {
	b := newBroker(t)
	b.auto = true
	log := sinktest.NewLog("s", 0).Fill(t, 3, 5)
	log.Damage(0)
	s := sink(t, b.config())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	cursor := drain.NewCursor(0)
	lane, err := s.Open(ctx, log.ID, &cursor, drain.Opening{})
	if err != nil {
		t.Fatal(err)
	}
	send := func(offset int64, sequence int32) error {
		t.Helper()
		run, err := log.Read(offset, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		one, _, err := batch.Next(run)
		if err != nil {
			t.Fatal(err)
		}
		h, _ := batch.ParseHeader(one)
		done := make(chan error, 1)
		lane.Send(one, &h, sequence, func(_ int64, err error) { done <- err })
		return <-done
	}
	if err := send(0, 0); drain.VerdictOf(err) != drain.Corrupt {
		t.Fatalf("damaged: %v", err)
	}
	for range 2 {
		if err := send(5, 5); !errors.Is(err, errWithdrawn) {
			t.Fatalf("what follows the failure: %v", err)
		}
	}
	if err := send(5, 0); err != nil { // the number of what was set aside
		t.Fatal(err)
	}
	if _, total := b.counts(); total != 5 {
		t.Errorf("%d published", total)
	}
}

// A connection that breaks with many messages under way proves nothing; neither
// do ones that break on different messages, nor a broker that can't be reached.
func TestProof(t *testing.T) {
	s := sink(t, Config{URL: "mqtt://h", ClientID: "c"})
	u := &s.suspicion
	u.poison = 0
	k := key{branch: 1}
	broken := errors.Join(errors.New("read"), syscall.ECONNRESET)
	strike := func(offset int64, alone bool, err error) bool {
		_, found := u.interrupted([]opened{{k, offset}}, alone, err)
		return found
	}
	none := func(what string, found bool) {
		t.Helper()
		if found {
			t.Errorf("%s was taken for proof", what)
		}
	}
	for range 3 * PoisonStrikes {
		none("many under way", strike(7, false, broken))
		none("our own timeout", strike(7, true, errUnanswered))
	}
	for i := range int64(3 * PoisonStrikes) {
		none("always another message", strike(i, true, broken))
	}
	for range 3 {
		for range PoisonStrikes - 1 {
			none("not often enough", strike(9, true, broken))
		}
		u.unreachable()
	}
	for range 3 {
		for range PoisonStrikes - 1 {
			none("not in a row", strike(9, true, broken))
		}
		u.acknowledged(k, 9)
	}
	for i := range PoisonStrikes {
		if found := strike(11, true, broken); found != (i == PoisonStrikes-1) {
			t.Errorf("strike %d: %v", i+1, found)
		}
	}
	if !u.careful() || !u.struck() {
		t.Error("nobody is careful")
	}
	u.acknowledged(k, 14)
	if u.careful() || u.struck() {
		t.Error("careful for ever")
	}
}
