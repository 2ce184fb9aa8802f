package sim

import (
	"errors"
	"slices"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
	"cistern/segstore/forward"
	"cistern/segstore/replica"
)

// outstandingMax is how many batches devices have under way at one gateway.
const outstandingMax = 40

// ingress is where devices publish: the shipped queue, with the journal's
// parked log and the network around it.
type ingress struct {
	g           *gateway
	queue       *forward.Queue
	leader      metadata.NodeID
	epoch       int32
	outstanding int
	parking     []*forward.Item // on their way to flash
	wake        time.Duration
}

// stamp is the queue's clock.
func (s *Simulation) stamp() time.Time { return time.Unix(1e6, 0).Add(s.now) }

func (in *ingress) open(g *gateway) {
	p := &g.card.parked
	policy := forward.Policy{ParkAfter: g.s.ParkAfter, ParkHeldAfter: 2 * g.s.ParkAfter}
	newID := func() int64 { g.s.producers++; return 1<<62 | g.s.producers }
	*in = ingress{g: g, leader: metadata.NoNode,
		queue: forward.NewQueue(partition, policy, newID, p.pos, p.end, p.remap, g.s.stamp())}
	g.s.trace("%s has parked %d to %d, remap %+v", g.name, p.pos, p.end, p.remap)
	in.apply(in.queue.Tick(g.s.stamp()))
}

// die leaves on flash any part of what was being parked.
func (in *ingress) die() {
	for _, it := range in.parking[:in.g.s.random.IntN(len(in.parking)+1)] {
		in.g.card.parked.append(it.Data)
	}
	in.parking = nil
}

// load is the devices: they publish for ever.
func (g *gateway) load() {
	if g.s.producing && g.ingress.outstanding < outstandingMax {
		g.ingress.publish()
	}
	g.later(g.s.around(g.s.Produce), g.load)
}

// origin is who published a batch; of each the order is kept.
type origin struct{ gateway, life int }

func (in *ingress) publish() {
	s := in.g.s
	s.uids++
	n := 1 + s.random.IntN(3)
	b := batch.NewBuilder(metadata.CodecNone)
	for range n {
		if _, err := b.Append(&batch.Record{Timestamp: s.uids, Value: []byte{1}}); err != nil {
			panic("sim: " + err.Error())
		}
	}
	data, err := b.AppendTo(nil, batch.NoProducer)
	if err != nil {
		panic("sim: " + err.Error())
	}
	in.outstanding++
	s.check.published(s.uids, origin{in.g.n, in.g.life})
	it := &forward.Item{Data: data, Records: int32(n), Acks: metadata.AcksAll, Confirm: s.MinInsync == 1, Owner: s.uids}
	in.apply(in.queue.Submit(s.stamp(), it))
}

// changed tells the queue that metadata did.
func (in *ingress) changed(img *metadata.Image) {
	p := img.Partition(partition)
	if p == nil {
		return
	}
	other := p.Leader != in.leader || p.LeaderEpoch != in.epoch
	in.leader, in.epoch = p.Leader, p.LeaderEpoch
	if other {
		in.apply(in.queue.Changed(in.g.s.stamp(), true))
	}
}

// apply carries out what the queue asks for. Its slices are its own.
func (in *ingress) apply(e *forward.Effects) {
	g, s := in.g, in.g.s
	answers, sends, park := slices.Clone(e.Answer), slices.Clone(e.Send), slices.Clone(e.Park)
	save, read, moved, wake := e.Save, e.Read, e.Moved, e.Wake
	for _, it := range answers {
		in.outstanding--
		s.check.answered(g, it)
	}
	if moved && s.chance(0.3) {
		g.card.parked.pos, _ = in.queue.Position()
	}
	for _, a := range sends {
		in.send(a)
	}
	if len(park) > 0 {
		in.park(park)
	}
	if save != nil {
		r := *save
		g.later(s.around(s.Sync), func() {
			s.trace("%s remaps %+v", g.name, r)
			g.card.parked.remap, g.card.parked.pos = r, r.From
			in.apply(in.queue.Saved(s.stamp(), nil))
		})
	}
	if read >= 0 {
		g.later(time.Millisecond, func() {
			s.count("parked batches read back")
			in.apply(in.queue.ReadBack(s.stamp(), g.card.parked.read(read, 4), nil))
		})
	}
	if !wake.IsZero() {
		in.tickAt(wake.Sub(time.Unix(1e6, 0)))
	}
}

// tickAt wakes the queue, once for each moment.
func (in *ingress) tickAt(at time.Duration) {
	g := in.g
	if in.wake > g.s.now && in.wake <= at {
		return
	}
	in.wake = max(at, g.s.now+time.Microsecond)
	g.later(in.wake-g.s.now, func() { in.apply(in.queue.Tick(g.s.stamp())) })
}

// park appends to the parked log.
func (in *ingress) park(items []*forward.Item) {
	g, s := in.g, in.g.s
	s.count("parkings")
	in.parking = items
	g.later(s.around(s.Sync)+time.Millisecond, func() {
		in.parking = nil
		results := make([]forward.Parked, len(items))
		for i, it := range items {
			results[i].Base = g.card.parked.append(it.Data)
		}
		in.apply(in.queue.Parked(s.stamp(), results))
	})
}

// send brings a batch to the leader, as far as this gateway knows who that is.
func (in *ingress) send(a *forward.Attempt) {
	g, s := in.g, in.g.s
	bytes := slices.Clone(a.Batch) // what was sent is sent
	answered, life := false, g.life
	answer := func(base int64, err error) {
		if s.tracing() && !answered && g.life == life {
			s.trace("%s hears of batch %d: %d %v", g.name, a.Item.Owner, base, err)
		}
		if !answered && g.life == life {
			answered = true
			in.apply(in.queue.Answered(s.stamp(), a, base, err))
		}
	}
	to := s.byID(in.leader)
	if to == nil {
		g.later(0, func() { answer(-1, replica.ErrNoLeader) })
		return
	}
	g.later(s.between(time.Second, 2*time.Second), func() { answer(-1, replica.ErrUnreachable) })
	s.send(g, to, func() {
		to.produce(bytes, a.Acks, func(base int64, err error) {
			s.reply(to, g, life, func() { answer(base, err) })
		})
	})
}

// produce appends, if this gateway leads.
func (g *gateway) produce(bytes []byte, acks metadata.Acks, reply func(int64, error)) {
	if g.part == nil {
		reply(-1, replica.ErrNotLeader)
		return
	}
	answer := func(base int64, err error) {
		if err == nil {
			h, _ := batch.ParseHeader(bytes)
			g.s.check.taken(g, h.BaseTimestamp)
		}
		reply(base, err)
	}
	g.submit(entry{bytes: bytes, leads: true, acks: acks, done: func(base, end int64, err error) {
		var dup *replica.DuplicateError
		switch {
		case errors.As(err, &dup):
			g.s.count("duplicates recognised")
			g.wait(dup.Base, dup.End, answer)
		case err != nil:
			answer(-1, err)
		default:
			g.wait(base, end, answer)
		}
	}})
}

func (g *gateway) wait(base, end int64, answer func(int64, error)) {
	switch {
	case end <= g.part.HighWatermark():
		answer(base, nil)
	case g.part.Role() != replica.RoleLeader:
		answer(-1, replica.ErrNotLeader)
	default:
		g.waiting = append(g.waiting, waiting{base, end, answer})
		slices.SortStableFunc(g.waiting, func(a, b waiting) int { return int(a.end - b.end) })
	}
}
