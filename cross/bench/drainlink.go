package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"cistern/bridge/drain"
	"cistern/bridge/drain/pace"
	"cistern/bridge/drain/shape"
	"cistern/gossip/metadata"
)

// drainLink measures how full the drain keeps a long link, and how long a fresh
// record takes behind a backlog on a slow one.
func drainLink(ctx context.Context, p *plan) error {
	t := newTable(p.out, "A long link", "20 Mbit/s, 300 ms round trip, shaped by a proxy in this process. "+
		"The share of the link's bytes between the first batch's arrival and the last's.",
		"way", "batches", "sent MiB", "seconds", "link filled")
	for _, c := range []DrainCell{
		{Way: "verbatim", Records: 4000, Codec: metadata.CodecNone},
		{Way: "verbatim", Records: 1000, Codec: metadata.CodecZstd},
		{Way: "merged", Records: 250, Codec: metadata.CodecZstd},
	} {
		c.Bytes = 40 << 20
		if p.quick {
			c.Bytes = 8 << 20
		}
		const bytesPerSecond = 20_000_000 / 8
		got, _, err := overLink(ctx, c, bytesPerSecond, 300*time.Millisecond)
		if err != nil {
			return err
		}
		took := got.Last.Sub(got.First)
		t.row(c.Way, fmt.Sprintf("%.0f KiB", float64(got.Stored)/float64(got.Batches)/1024), fmt.Sprintf("%.1f", mib(got.Stored)), fmt.Sprintf("%.1f", took.Seconds()),
			fmt.Sprintf("%.0f %%", 100*float64(got.Stored-got.FirstLen)/took.Seconds()/bytesPerSecond))
	}
	return nil
}

// overLink runs a cell with a shaped link in the way.
func overLink(ctx context.Context, c DrainCell, bytesPerSecond int, rtt time.Duration) (seen, Drained, error) {
	s, err := newStub()
	if err != nil {
		return seen{}, Drained{}, err
	}
	defer s.close()
	link, err := newShaped(s.address(), bytesPerSecond, rtt)
	if err != nil {
		return seen{}, Drained{}, err
	}
	defer link.close()
	s.advertise(link.address())
	c.Broker = link.address()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	d, err := inChild[DrainCell, Drained](ctx, "drain", c)
	return s.take(), d, err
}

// drainFresh measures how old a fresh record is when it arrives, while a
// backlog fills a slow link.
func drainFresh(ctx context.Context, p *plan) error {
	t := newTable(p.out, "Fresh records behind a backlog", "256 kbit/s, 100 ms round trip, one record a second; seconds until it is at the centre. "+
		"\"Link filled\" is by backlog and fresh records together.",
		"order", "fresh records", "median", "worst", "link filled")
	for _, way := range []string{"strict, with fresh records", "live first, with fresh records"} {
		const bytesPerSecond = 256_000 / 8
		c := DrainCell{Way: way, Records: 250, Codec: metadata.CodecZstd, Bytes: 16 << 20, For: 40 * time.Second}
		if p.quick {
			c.For = 8 * time.Second
		}
		got, _, err := overLink(ctx, c, bytesPerSecond, 100*time.Millisecond)
		if err != nil {
			return err
		}
		median, worst := "–", "none arrived"
		if n := len(got.Fresh); n > 0 {
			slices.Sort(got.Fresh)
			median, worst = fmt.Sprintf("%.2f", got.Fresh[n/2].Seconds()), fmt.Sprintf("%.2f", got.Fresh[n-1].Seconds())
		}
		took := got.Last.Sub(got.First)
		t.row(way[:len(way)-len(", with fresh records")], fmt.Sprint(len(got.Fresh)), median, worst,
			fmt.Sprintf("%.0f %%", 100*float64(got.Stored-got.FirstLen)/took.Seconds()/bytesPerSecond))
	}
	return nil
}

// withFresh drains in an order while a record comes each second, for c.For.
func withFresh(order drain.Order) func(DrainCell, *repeating) error {
	return func(c DrainCell, l *repeating) error {
		gate := pace.New(pace.Config{LiveFirst: order == drain.OrderLiveFirst})
		return drainWith(c, l, drain.Config{Order: order, Gate: gate, Shaper: shape.New(shape.Config{})}, func() error {
			ticks := time.NewTicker(time.Second)
			defer ticks.Stop()
			end := time.After(c.For)
			for {
				select {
				case now := <-ticks.C:
					if err := l.append(now); err != nil {
						return err
					}
				case <-end:
					return nil
				}
			}
		})
	}
}
