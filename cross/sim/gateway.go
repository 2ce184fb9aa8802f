package sim

import (
	"fmt"
	"slices"
	"time"

	"cistern/gossip/controller"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/replica"
)

const stream = "s"

var partition = metadata.PartitionID{Stream: stream}

// gateway is one box: a card, and the process that runs on it, if one does.
// Everything below life belongs to the process and dies with it.
type gateway struct {
	s         *Simulation
	n         int
	name      string
	card      *card
	cards     int
	slandered time.Duration // the failure detector calls it dead until then
	exiled    bool          // it does not hear the quorum
	failing   bool          // the next sync fails

	life        int
	up          bool
	paused      bool
	inbox       []func() // what arrived while it was paused
	started     time.Duration
	image       *metadata.Image
	id          metadata.NodeID
	incarnation uint64
	registering bool
	part        *replica.Partition
	waiting     []waiting
	queued      []entry
	committing  bool
	fetches     int
	ingress     ingress
	checked     int64 // the checker has seen the log up to here
}

// waiting is an append that waits for the high watermark.
type waiting struct {
	base, end int64
	answer    func(base int64, err error)
}

// boot starts a process on what is on the card.
func (g *gateway) boot() {
	s := g.s
	if !s.mutant(WithoutIncarnations) || g.card.starts == 0 {
		g.card.starts++
	}
	g.life++
	g.up, g.paused, g.inbox, g.started = true, false, nil, s.now
	g.id, g.incarnation, g.registering = metadata.NoNode, 0, false
	g.part, g.waiting, g.queued, g.committing, g.checked = nil, nil, nil, false, 0
	g.image = s.quorum.images[s.random.IntN(g.known()+1)]
	s.trace("%s boots: life %d, start %d, log %s", g.name, g.life, g.card.starts, show(&g.card.log))
	g.ingress.open(g)
	g.register()
	g.fetch()
	g.tick()
	g.load()
	g.poll()
}

// known is the newest metadata that the gateway may have on flash.
func (g *gateway) known() int {
	if g.image == nil {
		return 0
	}
	return int(g.image.Index)
}

// die ends the process. With the power goes what was not synced; a killed
// process leaves what it had written.
func (g *gateway) die(power bool) {
	s := g.s
	g.up = false
	g.ingress.die()
	if g.card.log.lose(&s.loop, !power && s.chance(0.7)) {
		s.count("unsynced tails lost")
	}
	s.trace("%s dies, power %v: log %s", g.name, power, show(&g.card.log))
}

// register tells the quorum about this process until it knows.
func (g *gateway) register() {
	if g.registering {
		return
	}
	g.registering = true
	r := &metadata.Register{Name: g.name, Address: g.name + ":1", StoreID: g.card.storeID, StoreIncarnation: g.card.starts}
	g.propose(metadata.Change{Register: r}, func(r metadata.Result, err error) {
		g.registering = false
		if err != nil || r.Error != "" {
			g.later(200*time.Millisecond, g.register)
			return
		}
		g.id, g.incarnation = r.Node, r.Incarnation
		g.apply(g.image)
	})
}

// poll catches up with metadata that no message brought.
func (g *gateway) poll() {
	g.hear(len(g.s.quorum.images) - 1)
	g.later(500*time.Millisecond, g.poll)
}

func (g *gateway) tick() {
	if g.part != nil {
		g.effects(g.part.Tick(g.s.now))
	}
	g.later(g.s.LagMax/5, g.tick)
}

// apply takes the site's metadata, as far as this gateway has heard of them.
func (g *gateway) apply(img *metadata.Image) {
	g.image = img
	if g.incarnation == 0 {
		return
	}
	m, ok := img.Member(g.name)
	if ok && m.StoreID == g.card.storeID && m.StoreIncarnation == g.card.starts {
		g.incarnation = max(g.incarnation, m.Incarnation)
		if m.Fenced {
			g.register()
		}
	} else if ok && g.incarnation > 0 && m.Incarnation > g.incarnation && m.Fenced {
		g.register() // a former card's registration came late
	}
	p := img.Partition(partition)
	if p != nil && !p.IsReplica(g.id) {
		p = nil
	}
	if g.part == nil && p != nil {
		g.open()
	}
	if g.part != nil {
		minInsync := 0
		if p != nil {
			minInsync = controller.MinInsync(img.Streams[stream].Config, p.Settled())
		}
		g.part.Registered(g.incarnation)
		was, epoch := g.part.Role(), g.part.LeaderEpoch()
		fx := g.part.Image(g.s.now, p, img.Incarnation, minInsync)
		if g.part.Role() == replica.RoleLeader && (was != replica.RoleLeader || g.part.LeaderEpoch() != epoch) {
			g.s.check.leads(g)
		}
		g.effects(fx)
	}
	g.ingress.changed(img)
}

// open makes the copy's protocol from what is on the card.
func (g *gateway) open() {
	c := g.card
	g.part = replica.NewPartition(partition, &c.log, c.kept, replica.Options{Self: g.id, ReplicaLagMax: g.s.LagMax, Without: g.s.Rules})
	producers := replica.NewProducers()
	if c.producers != nil {
		var err error
		if producers, err = replica.DecodeProducers(c.producers); err != nil {
			panic("sim: " + err.Error())
		}
		if !producers.Matches(&c.log) {
			g.part.Forget()
		}
		producers.Align(&c.log)
	}
	if producers.Forgetful() {
		producers = replica.NewProducers()
	}
	g.observe(producers)
	if g.s.check.unclean || g.s.check.uncleanEpoch > 0 {
		g.checked = g.part.HighWatermark() // it may be of what was given up
	}
}

// observe brings the protocol what producers have sent, as the log says.
func (g *gateway) observe(known *replica.Producers) {
	for _, b := range g.card.log.batches {
		if b.base >= known.End() {
			h, _ := batch.ParseHeader(b.bytes)
			known.Observe(&h, b.base)
		}
	}
	g.part.SetProducers(known)
}

// effects carries out what the protocol asks for.
func (g *gateway) effects(fx replica.Effects) {
	s := g.s
	if g.part.Forgetful() {
		s.count("tables of producers made anew")
		g.observe(replica.NewProducers())
	}
	if fx.Broken != "" {
		s.violate("assertion", "%s: %s", g.name, fx.Broken)
	}
	s.check.moved(g)
	if fx.Resigned {
		s.count("leaders resigned")
		failed := g.waiting
		g.waiting = nil
		for _, w := range failed {
			w.answer(-1, replica.ErrNotLeader)
		}
	}
	if a := fx.Alter; a != nil {
		s.count("ISR changes asked for")
		part := g.part
		g.propose(metadata.Change{AlterPartition: a}, func(r metadata.Result, err error) {
			if g.part == part {
				g.effects(part.Altered(s.now, a, r, err))
			}
		})
	}
	if g.part.Role() == replica.RoleLeader {
		g.confirm()
	}
}

// confirm answers the appends that are as safe as they asked to be.
func (g *gateway) confirm() {
	n := 0
	for n < len(g.waiting) && g.waiting[n].end <= g.part.HighWatermark() {
		n++
	}
	done := g.waiting[:n:n]
	g.waiting = slices.Clone(g.waiting[n:])
	for _, w := range done {
		w.answer(w.base, nil)
	}
}

// show is a log in a trace.
func show(j *journal) string {
	out := fmt.Sprintf("[%d..%d", j.start, j.PlacedOffset())
	epoch := int32(-1)
	for _, b := range j.batches {
		if b.epoch != epoch {
			out += fmt.Sprintf(" %d@%d", b.base, b.epoch)
			epoch = b.epoch
		}
	}
	return out + fmt.Sprintf("] synced %d", j.end)
}
