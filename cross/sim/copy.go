package sim

import (
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/replica"
)

const (
	fetchWait     = 300 * time.Millisecond // what an idle follower lets its leader wait
	fetchPatience = time.Second            // after which no answer is expected
	fetchBatches  = 50                     // in one answer
)

// fetch asks the leader for what comes next, for ever.
func (g *gateway) fetch() {
	g.fetches++
	id := g.fetches
	again := func() {
		if id == g.fetches {
			g.fetch()
		}
	}
	if g.part == nil {
		g.later(50*time.Millisecond, again)
		return
	}
	leader, r, ok := g.part.NextFetch()
	to := g.s.byID(leader)
	if !ok || to == nil {
		g.later(20*time.Millisecond, again)
		return
	}
	node, incarnation, life := g.id, g.incarnation, g.life
	g.later(fetchPatience, again)
	g.s.send(g, to, func() {
		to.serve(node, incarnation, r, g.s.now+fetchWait, func(a replica.FetchedPartition) {
			g.s.reply(to, g, life, func() {
				g.fetched(r, a, again)
			})
		})
	})
}

// serve answers a follower, as soon as there is something to say.
func (g *gateway) serve(node metadata.NodeID, incarnation uint64, r replica.FetchPartition, until time.Duration, reply func(replica.FetchedPartition)) {
	if g.part == nil {
		reply(replica.FetchedPartition{Partition: partition, Err: replica.ErrUnknownPartition})
		return
	}
	a, read, fx := g.part.Fetch(g.s.now, node, incarnation, &r)
	g.effects(fx)
	if read {
		a.Records = g.card.log.read(r.Offset, fetchBatches)
	}
	if read || a.Err != nil || a.Diverging != nil || a.HighWatermark > r.HighWatermark || g.s.now >= until {
		reply(a)
		return
	}
	g.later(30*time.Millisecond, func() { g.serve(node, incarnation, r, until, reply) })
}

// fetched does what an answer says, and asks again when that is on flash.
func (g *gateway) fetched(asked replica.FetchPartition, a replica.FetchedPartition, again func()) {
	if g.part == nil {
		return
	}
	step := g.part.Fetched(g.s.now, asked, &a)
	g.checked = min(g.checked, g.part.HighWatermark())
	g.effects(step.Effects)
	if step.Lost > 0 {
		g.s.count("confirmed records given up")
		if !g.s.check.unclean && g.s.check.uncleanEpoch == 0 { // even one whose leader was deposed before it knew
			g.s.violate("D", "%s cuts off %d confirmed records", g.name, step.Lost)
		}
	}
	switch {
	case step.Truncate || step.Restart:
		g.s.trace("%s cuts: %+v of %s", g.name, step, show(&g.card.log))
		g.submit(entry{cut: &step, done: func(_, _ int64, _ error) { again() }})
	case step.Records != nil:
		g.copy(&step, again)
	case step.Err != nil:
		g.later(50*time.Millisecond, again)
	default:
		again()
	}
}

func (g *gateway) copy(step *replica.FollowerStep, again func()) {
	var entries []entry
	for rest := step.Records; len(rest) > 0; {
		one, more, err := batch.Next(rest)
		if err != nil {
			panic("sim: " + err.Error())
		}
		entries = append(entries, entry{bytes: one, epoch: step.LeaderEpoch})
		rest = more
	}
	entries[len(entries)-1].done = func(_, _ int64, _ error) { again() }
	g.submit(entries...)
}
