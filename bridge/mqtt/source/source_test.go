package source

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"cistern/segstore/ingest"
)

func TestAcknowledgesAfterCommitInOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &memory{manual: true}
		s, b, _ := start(t, testConfig, a)
		p := b.serve(true)
		p.publish(1, 5)
		synctest.Wait()
		if got := a.stored(); !slices.Equal(got, numbers(1, 5)) {
			t.Fatalf("appended %v", got)
		}
		if got := p.acks(); got != nil {
			t.Fatalf("acknowledged %v before the commit", got)
		}
		if st := s.Status(); st.InWindow != 5 || st.Received != 5 || st.Committed != 0 {
			t.Errorf("status before the commit: %+v", st)
		}
		a.commit(nil) // completes 5 first
		synctest.Wait()
		if got := p.acks(); !slices.Equal(got, ids(1, 5)) {
			t.Errorf("acknowledged %v", got)
		}
		st := s.Status()
		if st.InWindow != 0 || st.Committed != 5 || st.ConnectedSince.IsZero() || !st.SessionPresent || st.LastError != "" {
			t.Errorf("status after the commit: %+v", st)
		}
		if len(st.Subscriptions) != 1 || !st.Subscriptions[0].Granted || st.Subscriptions[0].QoS != 1 {
			t.Errorf("subscriptions: %+v", st.Subscriptions)
		}
	})
}

func TestTakesMessagesOfAResumedSessionBeforeSubscribing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &memory{manual: true}
		_, b, _ := start(t, testConfig, a)
		p := b.accept(true)
		p.publish(1, 3)
		expect[*packets.SubscribePacket](p) // not answered yet
		synctest.Wait()
		a.commit(nil)
		synctest.Wait()
		if got := p.acks(); !slices.Equal(got, ids(1, 3)) {
			t.Errorf("acknowledged %v", got)
		}
	})
}

func TestWindowHoldsTenTimesItsSizeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &memory{manual: true}
		s, b, _ := start(t, testConfig, a)
		p := b.serve(true)
		sent := make(chan error, 1)
		go func() { sent <- p.publish(1, 100) }()
		for received := 0; received < 100; received += 10 {
			synctest.Wait()
			if got := len(a.stored()); got != received+10 {
				t.Fatalf("%d messages taken, want a window at a time: %d", got, received+10)
			}
			if got := s.Status().InWindow; got != 10 {
				t.Fatalf("%d messages in the window", got)
			}
			time.Sleep(5 * time.Second) // two of these are longer than the limit for one slot
			a.commit(nil)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := p.acks(); !slices.Equal(got, ids(1, 100)) {
			t.Errorf("acknowledged %v", got)
		}
	})
}

func TestWindowIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &memory{manual: true}
		_, b, _ := start(t, testConfig, a)
		p := b.serve(true)
		go p.publish(1, 9, payload(large(800_000)))
		synctest.Wait()
		if got := len(a.stored()); got != WindowBytesMax/800_000 {
			t.Errorf("%d messages of 800 kB taken", got)
		}
		a.commit(nil)
		synctest.Wait()
		a.commit(nil)
		synctest.Wait()
		if got := p.acks(); !slices.Equal(got, ids(1, 9)) {
			t.Errorf("acknowledged %v", got)
		}
	})
}

func TestGivesUpAConnectionWhoseWindowStaysFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &memory{manual: true}
		s, b, _ := start(t, testConfig, a)
		p := b.serve(true)
		go p.publish(1, 11)
		began := time.Now()
		p.closed()
		if took := time.Since(began); took < 9*time.Second || took > 12*time.Second {
			t.Errorf("given up after %s", took)
		}
		synctest.Wait()
		if st := s.Status(); !strings.Contains(st.LastError, "window") || !st.ConnectedSince.IsZero() {
			t.Errorf("status: %+v", st)
		}
		a.set(func(a *memory) { a.manual = false })
		a.commit(nil) // too late: these acks belong to a connection that is gone
		p = b.serve(true)
		synctest.Wait()
		if got := p.acks(); got != nil {
			t.Fatalf("acknowledged %v, which this connection has not sent", got)
		}
		p.publish(1, 11)
		synctest.Wait()
		if got := p.acks(); !slices.Equal(got, ids(1, 11)) {
			t.Errorf("acknowledged %v", got)
		}
		if got := a.stored(); !slices.Equal(got, append(numbers(1, 10), numbers(1, 11)...)) {
			t.Errorf("stored %v", got)
		}
	})
}

func TestSilentBroker(t *testing.T) {
	for _, c := range []struct {
		name string
		sent int // with a window of 10 and nothing committed
	}{{"idle", 0}, {"with the window full", 10}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, b, _ := start(t, testConfig, &memory{manual: true})
				p := b.serve(true)
				p.publish(1, c.sent)
				p.mute.Store(true)
				began := time.Now()
				p.closed()
				if took := time.Since(began); took < KeepAliveDefault || took > 2*KeepAliveDefault {
					t.Errorf("given up after %s", took)
				}
				synctest.Wait()
				if st := s.Status(); !strings.Contains(st.LastError, errSilent.Error()) {
					t.Errorf("status: %+v", st)
				}
			})
		})
	}
}

// PINGRESP comes behind the messages that a full window holds back.
func TestShortStallIsNotTakenForASilentBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &memory{manual: true}
		_, b, _ := start(t, testConfig, a)
		p := b.serve(true)
		time.Sleep(KeepAliveDefault - 2*time.Second)
		go p.publish(1, 12)
		time.Sleep(9 * time.Second) // PINGREQ goes out in between
		a.commit(nil)
		synctest.Wait()
		a.commit(nil)
		time.Sleep(time.Minute)
		if got := p.acks(); !slices.Equal(got, ids(1, 12)) {
			t.Errorf("acknowledged %v", got)
		}
	})
}

func TestConnectionLostWhileTheHandlerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &memory{manual: true}
		s, b, _ := start(t, testConfig, a)
		p := b.serve(true)
		go p.publish(1, 20)
		synctest.Wait()
		p.conn.Close()
		began := time.Now()
		a.commit(nil) // the first ack finds the connection gone
		b.serve(true)
		synctest.Wait()
		if st := s.Status(); !strings.Contains(st.LastError, "write: ") {
			t.Errorf("status: %+v", st)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("back after %s", took)
		}
	})
}

func TestRefusedAppendIsTriedAgainAndNeverAcknowledged(t *testing.T) {
	for _, refused := range []error{ingest.ErrFull, ingest.ErrUnavailable} {
		t.Run(refused.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &memory{refuse: fmt.Errorf("append to mqtt/0: %w", refused)}
				s, b, _ := start(t, testConfig, a)
				p := b.serve(true)
				p.publish(1, 8) // less than the window: the connection has to last
				time.Sleep(3 * time.Hour)
				synctest.Wait()
				if got := p.acks(); got != nil {
					t.Fatalf("acknowledged %v, which were refused", got)
				}
				st := s.Status()
				if st.ConnectedSince.IsZero() || time.Since(st.ConnectedSince) < 2*time.Hour || !strings.Contains(st.Waiting, refused.Error()) {
					t.Errorf("status while refused: %+v", st)
				}
				if a.calls < 3600 || a.calls > 20_000 {
					t.Errorf("%d attempts in three hours", a.calls)
				}
				a.set(func(a *memory) { a.refuse = nil })
				time.Sleep(3 * time.Second)
				synctest.Wait()
				if got := p.acks(); !slices.Equal(got, ids(1, 8)) {
					t.Errorf("acknowledged %v", got)
				}
				if got := a.stored(); !slices.Equal(got, numbers(1, 8)) {
					t.Errorf("stored %v", got)
				}
				if st := s.Status(); st.Waiting != "" || st.Committed != 8 {
					t.Errorf("status afterwards: %+v", st)
				}
			})
		})
	}
}

func TestFailedCommitEndsTheConnectionWithoutAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &memory{manual: true}
		s, b, _ := start(t, testConfig, a)
		p := b.serve(true)
		p.publish(1, 3)
		synctest.Wait()
		a.commit(errors.New("flash: input/output error"))
		synctest.Wait()
		if got := p.acks(); got != nil {
			t.Errorf("acknowledged %v, which were not stored", got)
		}
		p.closed()
		if st := s.Status(); !strings.Contains(st.LastError, "input/output error") {
			t.Errorf("status: %+v", st)
		}
		a.set(func(a *memory) { a.manual = false })
		p = b.serve(true)
		p.publish(1, 3)
		synctest.Wait()
		if got := p.acks(); !slices.Equal(got, ids(1, 3)) {
			t.Errorf("acknowledged %v the second time", got)
		}
	})
}

func TestRetainedMessages(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy Retained
		stored []string
	}{
		{"skipped and acknowledged by default", "", []string{"1", "4"}},
		{"ingested on demand", RetainedIngest, []string{"1", "2", "3", "4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &memory{}
				config := testConfig
				config.Retained = c.policy
				s, b, _ := start(t, config, a)
				p := b.serve(true)
				p.publish(1, 1)
				p.publish(2, 3, retained)
				p.publish(4, 4)
				synctest.Wait()
				if got := p.acks(); !slices.Equal(got, ids(1, 4)) {
					t.Errorf("acknowledged %v", got)
				}
				if got := a.stored(); !slices.Equal(got, c.stored) {
					t.Errorf("stored %v, want %v", got, c.stored)
				}
				if got := s.Status().SkippedRetained; got != int64(4-len(c.stored)) {
					t.Errorf("%d counted as skipped", got)
				}
			})
		})
	}
}

func TestMessagesThatCanNeverBeStoredDoNotBlockTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &memory{}
		s, b, _ := start(t, testConfig, a)
		p := b.serve(true)
		p.publish(1, 1)
		p.publish(2, 2, on("bad/topic"))
		p.publish(3, 3, payload(large(950_000)))          // too large for a batch
		p.publish(4, 4, payload(large(PacketBytesMax+1))) // too large to be read
		p.publish(0, 0, payload(large(3*PacketBytesMax)), qos(0))
		p.publish(5, 5)
		synctest.Wait()
		if got := p.acks(); !slices.Equal(got, ids(1, 5)) {
			t.Errorf("acknowledged %v", got)
		}
		if got := a.stored(); !slices.Equal(got, []string{"1", "5"}) {
			t.Errorf("stored %d records", len(got))
		}
		// Which of the large ones is named last is up to two goroutines.
		if st := s.Status(); st.Rejected != 4 || st.Received != 6 || !strings.Contains(st.LastRejected, "large") || st.ConnectedSince.IsZero() {
			t.Errorf("status: %+v", st)
		}
	})
}

func TestQoS0IsDroppedAndCountedWhenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &memory{refuse: ingest.ErrFull}
		s, b, _ := start(t, testConfig, a)
		p := b.serve(true)
		p.publish(1, 50, qos(0))
		synctest.Wait()
		a.set(func(a *memory) { a.refuse = nil })
		p.publish(51, 60, qos(0))
		synctest.Wait()
		if st := s.Status(); st.DroppedQoS0 != 50 || st.Committed != 10 || st.InWindow != 0 {
			t.Errorf("status: %+v", st)
		}
	})
}

func TestQoS2IsReceivedWithPubrecAfterCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &memory{manual: true}
		config := testConfig
		config.QoS = 2
		_, b, _ := start(t, config, a)
		p := b.serve(true)
		p.publish(7, 7, qos(2))
		synctest.Wait()
		if len(p.in) != 0 {
			t.Fatalf("answered %v before the commit", <-p.in)
		}
		a.commit(nil)
		if rec := expect[*packets.PubrecPacket](p); rec.MessageID != 7 {
			t.Errorf("PUBREC %d", rec.MessageID)
		}
		rel := packets.NewControlPacket(packets.Pubrel).(*packets.PubrelPacket)
		rel.MessageID = 7
		p.send(rel)
		if comp := expect[*packets.PubcompPacket](p); comp.MessageID != 7 {
			t.Errorf("PUBCOMP %d", comp.MessageID)
		}
	})
}
