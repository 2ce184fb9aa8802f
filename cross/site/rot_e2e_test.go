//go:build e2e

package site

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cistern/agent/status"
	"cistern/cross/central"
	"cistern/cross/rig"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/segment"
)

// rotEvery is how many batches there are to one that rots.
const rotEvery = 7

// startRotting starts gateways that keep everything twice, in small segments, so that
// most of what they hold lies in closed ones, and cuts the uplink. Who leads drains,
// however long the uplink is missed.
func startRotting(t *testing.T, n int) *Site {
	s := startAs(t, n, &Site{
		more:   strings.Replace(Stream(2, 1), "4MiB", "2MiB", 1),
		member: "[site.timing]\ndrain_after = \"1h\"\n",
	})
	s.Uplink.Cut()
	return s
}

// rot flips a bit in every few batches of a gateway's flash, and returns the bytes of
// all of them. Some of those that rot lie in closed segments.
func rot(t *testing.T, g *Gateway, every int) (kept int64) {
	t.Helper()
	n, err := segstore.Inspect(g.Data)
	must(t, err)
	var seen, batches, closed int
	for _, seg := range n.Segments() {
		if seg.State == "spare" {
			continue
		}
		before := batches
		f, err := os.OpenFile(filepath.Join(g.Data, "segments", seg.File), os.O_RDWR, 0)
		must(t, err)
		err = n.Walk(seg.Slot, func(c segment.Commit) error {
			for _, frame := range c.Frames {
				if frame.Type != segment.FrameBatch || c.Frames[0].Type == segment.FrameSnapshot {
					continue // without its snapshot a journal does not open, and says so
				}
				kept += int64(len(frame.Payload))
				if seen++; seen%every != 0 {
					continue
				}
				at := frame.Pos + segment.FrameHeaderLen + int64(len(frame.Payload)) - 3
				b := []byte{frame.Payload[len(frame.Payload)-3] ^ 4}
				if _, err := f.WriteAt(b, at); err != nil {
					return err
				}
				batches++
			}
			return nil
		}, func(*segment.Damage) {})
		must(t, err)
		must(t, f.Close())
		if seg.State == "sealed" && batches > before {
			closed++
		}
	}
	t.Logf("%d of %d batches of %s rotted, in %d closed segments among others", batches, seen, g.Gateway.Name, closed)
	if batches < 20 || closed == 0 {
		t.Fatal("too few to prove anything")
	}
	return kept
}

// mended returns how many records were mended at a gateway. Nothing may have been
// given up.
func mended(t *testing.T, g *Gateway) int64 {
	t.Helper()
	d, err := g.seen(within(t, stepMax))
	must(t, err)
	for _, p := range Partitions(d) {
		if p.Missed > 0 || p.Dropped > 0 || p.Quarantined > 0 {
			t.Errorf("%s gave up records of partition %d: %+v", g.Gateway.Name, p.Partition, p)
		}
	}
	return d.Site.Mended
}

// arrivedAll wants everything that was confirmed at the centre, once and in order,
// and the copies on flash that nothing was done to as they should be.
func arrivedAll(t *testing.T, s *Site, rotten *Gateway) {
	t.Helper()
	must(t, s.AwaitInSync(within(t, mendedMax))) // who fetches what rotted may have been left out for a moment
	insync := atRest(t, s)
	for id, names := range insync {
		insync[id] = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == rotten.Gateway.Name })
		if len(insync[id]) == 0 {
			t.Fatalf("nobody but %s is in sync with %s: there is no sound copy to look at", rotten.Gateway.Name, id)
		}
	}
	var journals []*Journal
	for _, g := range s.Gateways {
		if !g.Running() {
			continue
		}
		must(t, g.Terminate())
		if g == rotten {
			continue
		}
		j, err := ReadJournal(g.Gateway.Name, g.Data)
		must(t, err)
		journals = append(journals, j)
	}
	f, err := Examine(journals, insync, s.Ledger)
	must(t, err)
	var arrived []Record
	must(t, central.NewReader(s.Centre.Address()).Each(within(t, stepMax), metadata.DefaultStream, func(r central.Record) {
		arrived = append(arrived, Record{r.Key, r.Value})
	}))
	must(t, f.Centre(arrived, s.Ledger))
	t.Logf("confirmed %d, at the centre %d", s.Ledger.Tally().Confirmed, len(arrived))
	for _, p := range f.Problems() {
		t.Error(p)
	}
}

// publish has devices publish until so many more messages are confirmed.
func publish(t *testing.T, s *Site, more int64) {
	t.Helper()
	f := s.StartFleet(t.Context(), 12, 0, true, s.Gateways...)
	must(t, s.Ledger.AwaitConfirmed(within(t, stepMax), more))
	must(t, f.Stop())
	settled(t, s)
}

// unclosed counts the batches in a gateway's open segments, which are those that a start
// reads.
func unclosed(t *testing.T, g *Gateway) (batches int) {
	t.Helper()
	n, err := segstore.Inspect(g.Data)
	must(t, err)
	for _, seg := range n.Segments() {
		if seg.State != "open" {
			continue
		}
		must(t, n.Walk(seg.Slot, func(c segment.Commit) error {
			for _, frame := range c.Frames {
				if frame.Type == segment.FrameBatch && c.Frames[0].Type != segment.FrameSnapshot {
					batches++
				}
			}
			return nil
		}, func(*segment.Damage) {}))
	}
	return batches
}

// mendedMax is how long it may take until what rotted is mended and all are in sync:
// twice what the replicas hold a copy back for that (healHold).
const mendedMax = 60 * time.Second

// awaitSeen waits until a gateway's status is as wanted.
func awaitSeen(t *testing.T, g *Gateway, what string, is func(d *status.Document) bool) {
	t.Helper()
	ctx := within(t, mendedMax)
	var last status.Document
	for {
		if d, err := g.seen(ctx); err == nil {
			if last = *d; is(d) {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s is not %s; it says of itself %+v, and of its site %+v", g.Gateway.Name, what, last.Health, last.Site)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Scenario 26: flash rots under a gateway that leads and drains, while the uplink is
// cut. What it can't read comes back from the other. (10 s)
func TestScenario26RotUnderALeader(t *testing.T) {
	s := startRotting(t, 2)
	publish(t, s, 30_000)
	g, err := s.Leader(t.Context())
	must(t, err)
	rot(t, g, rotEvery)
	s.Uplink.Mend(s.Centre.Address())
	_, err = s.AwaitView(within(t, drainMax), 20*time.Millisecond, (*rig.View).Drained, nil)
	must(t, err)
	n := mended(t, g)
	t.Logf("%d records were mended at %s", n, g.Gateway.Name)
	if n == 0 {
		t.Error("nothing was mended: this proves nothing")
	}
	awaitSeen(t, g, "seen to have lost something", func(d *status.Document) bool { return warned(d, status.RecordsMended) })
	arrivedAll(t, s, g)
}

func warned(d *status.Document, code status.Code) bool {
	return slices.ContainsFunc(d.Health, func(w status.Active) bool { return w.Code == code })
}

// The same, found by a start, which reads the open segments: the gateway mends what it
// finds missing before it is in sync. The rest it finds when it drains, should it have to
// lead again by then. (15 s)
func TestScenario26RotBeforeAStart(t *testing.T) {
	s := startRotting(t, 2)
	publish(t, s, 30_000)
	g, err := s.Leader(t.Context())
	must(t, err)
	for unclosed(t, g) < 3*rotEvery { // a segment has just been closed
		publish(t, s, 500)
	}
	g.Kill()
	rot(t, g, rotEvery)
	must(t, g.Start(t.Context()))
	for _, seer := range []*Gateway{g, s.Others(g)[0]} { // one may not have heard yet that the first is out of sync
		awaitSeen(t, seer, "seeing all in sync", func(d *status.Document) bool {
			return (seer != g || d.Site.Mended > 0) && !slices.ContainsFunc(Partitions(d), func(p status.Partition) bool { return p.UnderReplicated })
		})
	}
	n := mended(t, g)
	t.Logf("%d records were mended when %s was in sync again", n, g.Gateway.Name)
	s.Uplink.Mend(s.Centre.Address())
	_, err = s.AwaitView(within(t, drainMax), 20*time.Millisecond, (*rig.View).Drained, nil)
	must(t, err)
	t.Logf("%d records were mended when all was drained", mended(t, g))
	arrivedAll(t, s, g)
}

// The gateway with the other copy is away when the drain comes upon what rotted: it is
// waited for, which is said, and nothing is given up meanwhile. Partitions of which the
// third has the other copy go on. (30 s)
func TestScenario26RotWhileTheOtherIsAway(t *testing.T) {
	s := startRotting(t, 3)
	publish(t, s, 30_000)
	g, err := s.Leader(t.Context())
	must(t, err)
	d, err := g.seen(t.Context())
	must(t, err)
	other := partner(d, s, g)
	other.Kill()
	rot(t, g, rotEvery)
	s.Uplink.Mend(s.Centre.Address())
	awaitSeen(t, g, "waiting for "+other.Gateway.Name, func(d *status.Document) bool {
		others := slices.ContainsFunc(d.Site.Mending, func(m status.Mending) bool {
			return !slices.Equal(m.Awaits, []string{other.Gateway.Name}) || m.Reason == ""
		})
		return len(d.Site.Mending) > 0 && !others && warned(d, status.MendingWaits)
	})
	mended(t, g)
	before := time.Now()
	must(t, other.Start(t.Context()))
	_, err = s.AwaitView(within(t, drainMax), 20*time.Millisecond, (*rig.View).Drained, nil)
	must(t, err)
	t.Logf("%d records mended; all drained %s after the other was back", mended(t, g), time.Since(before).Round(time.Millisecond))
	arrivedAll(t, s, g)
}

// Nobody needs the records, and the uplink stays cut: reading all that is kept finds
// what rotted, once, and it comes back. (25 s)
func TestScenario26RotThatNobodyReads(t *testing.T) {
	s := startAs(t, 2, &Site{more: strings.Replace(Stream(2, 1), "4MiB\"\n", "2MiB\"\nscrub_every = \"3s\"\n", 1)})
	s.Uplink.Cut()
	publish(t, s, 30_000)
	g := s.Gateways[0]
	kept := rot(t, g, 10*rotEvery)
	scrubbed(t, g, 2*kept)
	n := mended(t, g)
	t.Logf("%d records were mended at %s", n, g.Gateway.Name)
	scrubbed(t, g, 2*kept)
	if more := mended(t, g); n == 0 || more != n {
		t.Errorf("%d records were mended by two rounds, %d by four", n, more)
	}
	s.Uplink.Mend(s.Centre.Address())
	arrivedAll(t, s, g)
}

// scrubbed waits until a gateway has read so many bytes of what it keeps, and has got
// back what it missed.
func scrubbed(t *testing.T, g *Gateway, bytes int64) {
	t.Helper()
	from := int64(-1)
	awaitSeen(t, g, "whole after reading all that it keeps", func(d *status.Document) bool {
		if from < 0 {
			from = d.Site.Scrubbed
		}
		return d.Site.Scrubbed > from+bytes && len(d.Site.Mending) == 0
	})
}

// partner returns who has the other copy of something that g leads.
func partner(d *status.Document, s *Site, g *Gateway) *Gateway {
	for _, p := range Partitions(d) {
		for _, other := range s.Others(g) {
			if p.Leader == g.Gateway.Name && slices.Contains(p.Replicas, other.Gateway.Name) {
				return other
			}
		}
	}
	return nil
}
