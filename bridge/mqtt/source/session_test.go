package source

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"cistern/segstore/ingest"
)

func TestCleanStop(t *testing.T) {
	t.Run("waits a moment for commits under way", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := &memory{manual: true}
			_, b, stop := start(t, testConfig, a)
			p := b.serve(true)
			p.publish(1, 4)
			synctest.Wait()
			go func() {
				time.Sleep(20 * time.Millisecond)
				a.commit(nil)
			}()
			stop()
			if got := p.acks(); !slices.Equal(got, ids(1, 4)) {
				t.Errorf("acknowledged %v", got)
			}
		})
	})
	t.Run("acknowledges nothing that is not committed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := &memory{manual: true}
			_, b, stop := start(t, testConfig, a)
			p := b.serve(true)
			p.publish(1, 4)
			synctest.Wait()
			began := time.Now()
			stop()
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("took %s", took)
			}
			expect[*packets.DisconnectPacket](p)
			a.commit(nil)
			synctest.Wait()
			if got := p.acks(); got != nil {
				t.Errorf("acknowledged %v", got)
			}
		})
	})
	t.Run("with a full window and a refusing gateway", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := &memory{refuse: ingest.ErrFull}
			_, b, stop := start(t, testConfig, a)
			p := b.serve(true)
			go p.publish(1, 30)
			synctest.Wait()
			stop()
			if got := p.acks(); got != nil {
				t.Errorf("acknowledged %v", got)
			}
		})
	})
	t.Run("while the broker does not answer CONNECT", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, b, stop := start(t, testConfig, &memory{})
			p := <-b.dials
			expect[*packets.ConnectPacket](p)
			began := time.Now()
			stop()
			if took := time.Since(began); took > time.Second {
				t.Errorf("took %s", took)
			}
		})
	})
}

func TestSubscriptions(t *testing.T) {
	config := testConfig
	config.Topics = []string{"a/#", "b/#", "c/#"}
	synctest.Test(t, func(t *testing.T) {
		s, b, _ := start(t, config, &memory{})
		p := b.accept(false)
		subscribe := expect[*packets.SubscribePacket](p)
		codes := make([]byte, 3)
		for i, topic := range subscribe.Topics {
			codes[i] = map[string]byte{"a/#": 1, "b/#": subackFailure, "c/#": 0}[topic]
		}
		p.suback(subscribe.MessageID, codes...)
		synctest.Wait()
		st := s.Status()
		want := []Subscription{{Filter: "a/#", Granted: true, QoS: 1}, {Filter: "b/#"}, {Filter: "c/#", Granted: true}}
		for i, sub := range st.Subscriptions {
			if (sub.Error != "") != (i > 0) {
				t.Errorf("%s: error %q", sub.Filter, sub.Error)
			}
			sub.Error = ""
			if sub != want[i] {
				t.Errorf("subscription %+v, want %+v", sub, want[i])
			}
		}
		if st.LastError == "" || st.ConnectedSince.IsZero() {
			t.Errorf("status: %+v", st)
		}

		// The operator mends the access list: only what was refused is asked again.
		subscribe = expect[*packets.SubscribePacket](p)
		if !slices.Equal(subscribe.Topics, []string{"b/#"}) {
			t.Errorf("asked again for %v", subscribe.Topics)
		}
		p.suback(subscribe.MessageID, 1)
		synctest.Wait()
		if got := s.Status().Subscriptions[1]; got != (Subscription{Filter: "b/#", Granted: true, QoS: 1}) {
			t.Errorf("subscription %+v", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s, b, _ := start(t, config, &memory{})
		p := b.accept(false)
		p.closed() // no SUBACK
		synctest.Wait()
		if st := s.Status(); !strings.Contains(st.LastError, "subscribe: the broker did not answer") {
			t.Errorf("status: %+v", st)
		}
	})
}

func TestForgottenSessionIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b, _ := start(t, testConfig, &memory{})
		for i, present := range []bool{false, true, false} {
			p := b.serve(present)
			synctest.Wait()
			if st := s.Status(); st.SessionPresent != present || st.SessionsLost != int64(i/2) {
				t.Errorf("connection %d: %+v", i, st)
			}
			p.conn.Close()
		}
	})
}

func TestReconnectsWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, _ := start(t, testConfig, &memory{})
		var pauses []time.Duration
		for range 12 {
			began := time.Now()
			p := <-b.dials
			pauses = append(pauses, time.Since(began))
			p.conn.Close()
		}
		if pauses[0] != 0 {
			t.Errorf("first attempt after %s", pauses[0])
		}
		for i, pause := range pauses[1:] {
			ceiling := min(defaultTiming.backoffMin<<i, defaultTiming.backoffMax)
			if pause < ceiling/2 || pause > ceiling+time.Millisecond {
				t.Errorf("pause %d is %s, want %s to %s", i, pause, ceiling/2, ceiling)
			}
		}
	})
}
