package sim

import (
	"fmt"
	"strings"

	"cistern/segstore/forward"
)

// checker knows what was confirmed, and compares every gateway with it all the
// time. The letters are those of the invariants:
//
//	D  what was confirmed is at its offset in every later leader's log
//	M  one (offset, epoch) names one batch for ever; below two high watermarks
//	   the same bytes lie
//	R  what stood below a high watermark never changes, and nothing is skipped
//	W  one writer per epoch, and one process of it
//	L  when all is well again, everybody is in sync and everything is confirmed
//	T  what an unclean election gives up is known, and nothing else is given up
//	O  batches of one origin are in order
//	U  no batch is there twice
//
// An unclean election gives up records, and with them the memory of who sent
// what: O and U are not checked after one.
type checker struct {
	s      *Simulation
	truth  []mark           // by offset: what stood below some high watermark
	at     map[int64]int64  // uid: its offset there
	ever   map[int64]bool   // uids that were in truth once, given up since or not
	from   map[int64]origin // uid: who published it
	acked  map[int64]bool   // uids answered without an error
	parked map[int64]int    // of those, the ones that only a card vouches for: the gateway
	last   map[origin]int64 // the latest uid of each origin in truth
	names  map[name]int64   // what was placed there
	writer map[int32]origin // by epoch

	unclean      bool  // an unclean election was agreed on; its leader has not taken over
	uncleanEpoch int32 // of the last that has
	excused      int   // acked and given up
	lostOffsets  int64 // confirmed and given up
	epoch        int32 // in which truth grew last
}

// mark is what lies at an offset.
type mark struct {
	uid   int64
	epoch int32
}

// is reports whether b lies there. A uid of 0 says that nobody knows.
func (m mark) is(b *stored) bool { return m == mark{b.uid, b.epoch} || m.uid == 0 }

type name struct {
	offset int64
	epoch  int32
}

func newChecker(s *Simulation) *checker {
	return &checker{s: s, at: map[int64]int64{}, ever: map[int64]bool{}, from: map[int64]origin{}, acked: map[int64]bool{},
		parked: map[int64]int{}, last: map[origin]int64{}, names: map[name]int64{}, writer: map[int32]origin{}}
}

func (c *checker) published(uid int64, by origin) { c.from[uid] = by }

// answered: a sender was told. Confirmed is what stands below a high watermark,
// or is parked where one copy was promised.
func (c *checker) answered(g *gateway, it *forward.Item) {
	uid := it.Owner.(int64)
	if it.Err != nil {
		c.s.count("batches refused")
		return
	}
	c.acked[uid] = true
	at, there := c.at[uid]
	switch {
	case there && it.Offset >= 0 && at != it.Offset:
		c.s.violate("D", "batch %d was confirmed at %d, and is at %d", uid, it.Offset, at)
	case there || c.ever[uid]:
		c.s.count("confirmed")
	case it.Confirm && it.Offset < 0:
		c.s.count("confirmed as parked")
		c.parked[uid] = g.n
	default:
		c.s.violate("D", "batch %d was confirmed at %d, and stands below no high watermark", uid, it.Offset)
	}
}

// taken: a leader says that a batch is as safe as was asked. One that an unclean
// election has overruled may say so and not know.
func (c *checker) taken(g *gateway, uid int64) {
	if c.unclean || g.part.LeaderEpoch() < c.uncleanEpoch {
		c.ever[uid] = true
	}
}

// placed: a batch was put in a log.
func (c *checker) placed(g *gateway, b stored, leads bool) {
	n := name{b.base, b.epoch}
	if uid, known := c.names[n]; known && uid != b.uid {
		c.s.violate("M", "%s places batch %d at %d in epoch %d, which is batch %d", g.name, b.uid, b.base, b.epoch, uid)
	}
	c.names[n] = b.uid
	if !leads {
		return
	}
	by := origin{g.n, g.life}
	if w, known := c.writer[b.epoch]; known && w != by {
		c.s.violate("W", "%s (life %d) writes in epoch %d, and so did gateway %d (life %d)", g.name, g.life, b.epoch, w.gateway, w.life)
	}
	c.writer[b.epoch] = by
}

// moved: the high watermark of a gateway may have risen. All below is shown to
// readers.
func (c *checker) moved(g *gateway) {
	log, hw := &g.card.log, g.part.HighWatermark()
	if (hw < log.start || hw > log.PlacedOffset()) && log.before == nil {
		c.s.violate("R", "%s: high watermark %d of a log %s", g.name, hw, show(log))
	}
	if g.part.LeaderEpoch() < c.uncleanEpoch || c.unclean {
		g.checked = hw // what it shows is to be given up
		return
	}
	for i := log.find(max(g.checked, log.start)); i < len(log.batches) && log.batches[i].next <= hw; i++ {
		c.shown(g, &log.batches[i])
	}
	g.checked = hw
}

// shown: a batch stands below a high watermark.
func (c *checker) shown(g *gateway, b *stored) {
	if b.base < int64(len(c.truth)) {
		if m := c.truth[b.base]; !m.is(b) {
			c.s.violate("R", "%s shows batch %d of epoch %d at %d, where batch %d of epoch %d was shown", g.name, b.uid, b.epoch, b.base, m.uid, m.epoch)
		}
		return
	}
	if b.base > int64(len(c.truth)) {
		c.s.violate("R", "%s shows offset %d, and nobody showed %d", g.name, b.base, len(c.truth))
	}
	for range b.next - b.base {
		c.truth = append(c.truth, mark{b.uid, b.epoch})
	}
	if n := c.copies(b); n < c.s.MinInsync && !c.s.cardsLost && c.uncleanEpoch == 0 {
		c.s.violate("D", "%s shows offset %d, which is on %d cards of %d", g.name, b.base, n, c.s.MinInsync)
	}
	if at, twice := c.at[b.uid]; twice && c.uncleanEpoch == 0 { // a leader chosen uncleanly does not know who sent what
		c.s.violate("U", "batch %d is at %d and at %d", b.uid, at, b.base)
	}
	by := c.from[b.uid]
	if c.last[by] > b.uid && c.uncleanEpoch == 0 { // what was given up may come again, late
		c.s.violate("O", "batch %d of gateway %d comes after batch %d", b.uid, by.gateway, c.last[by])
	}
	c.at[b.uid], c.ever[b.uid], c.last[by] = b.base, true, b.uid
	c.epoch = max(c.epoch, g.part.LeaderEpoch())
}

// copies counts the cards that a batch is on, synced.
func (c *checker) copies(b *stored) (n int) {
	for _, g := range c.s.gateways {
		log := &g.card.log
		if i := log.find(b.base); b.next <= log.end && i < len(log.batches) && log.batches[i].uid == b.uid || log.start > b.base {
			n++
		}
	}
	return n
}

// leads: a gateway has taken over. Its log is what counts from now on.
func (c *checker) leads(g *gateway) {
	log, epoch := &g.card.log, g.part.LeaderEpoch()
	c.s.trace("%s leads in epoch %d: hw %d, log %s", g.name, epoch, g.part.HighWatermark(), show(log))
	if epoch < c.uncleanEpoch || epoch < c.epoch {
		return // it hears late, and is none any more
	}
	for c.uncleanEpoch > 0 && int64(len(c.truth)) < log.start {
		c.truth = append(c.truth, mark{}) // of what was given up, it has dropped this before
	}
	agrees := log.start
	for i := range log.batches {
		b := &log.batches[i]
		if b.base >= int64(len(c.truth)) || !c.truth[b.base].is(b) {
			break
		}
		agrees = b.next
	}
	g.checked = min(g.checked, agrees)
	switch {
	case c.unclean && c.s.state().LeaderEpoch == epoch: // the one that was chosen
		c.giveUp(agrees)
		clear(c.truth[:min(log.start, int64(len(c.truth)))]) // who knows what it has dropped
		c.unclean, c.uncleanEpoch = false, epoch
	case agrees < int64(len(c.truth)) && !c.unclean:
		c.s.violate("D", "%s leads in epoch %d with %s, but up to %d was confirmed", g.name, epoch, show(log), len(c.truth))
	}
}

// giveUp takes back what an unclean election costs.
func (c *checker) giveUp(from int64) {
	if from >= int64(len(c.truth)) {
		return
	}
	for o := from; o < int64(len(c.truth)); o++ {
		if uid := c.truth[o].uid; c.at[uid] == o {
			delete(c.at, uid)
			if c.acked[uid] {
				c.excused++
			}
		}
	}
	c.lostOffsets += int64(len(c.truth)) - from
	c.truth = c.truth[:from]
}

// lostCard: what only this card vouched for is gone, and that is known.
func (c *checker) lostCard(g *gateway) {
	for uid, n := range c.parked {
		if n == g.n && !c.ever[uid] {
			c.ever[uid] = true
			c.excused++
		}
	}
}

// settled returns up to where nobody will send a batch again: its sender was
// told, and it is in no parked log.
func (c *checker) settled() int64 {
	waits := map[int64]bool{}
	for _, g := range c.s.gateways {
		for i := range g.card.parked.batches {
			if b := &g.card.parked.batches[i]; b.next > g.card.parked.pos {
				waits[b.uid] = true
			}
		}
	}
	for offset, m := range c.truth {
		by := c.from[m.uid]
		if waits[m.uid] || !c.acked[m.uid] && c.s.gateways[by.gateway].life == by.life {
			return int64(offset)
		}
	}
	return int64(len(c.truth))
}

// finish compares everything, when all is well again.
func (c *checker) finish() {
	for uid := range c.acked {
		if !c.ever[uid] {
			c.s.violate("D", "batch %d was confirmed, and never got into the log", uid)
		}
	}
	for _, g := range c.s.gateways {
		if g.part == nil || !c.s.state().IsReplica(g.id) {
			continue
		}
		log := &g.card.log
		if hw := g.part.HighWatermark(); hw != int64(len(c.truth)) || log.end != hw {
			c.s.violate("L", "%s: high watermark %d, %s, and all confirmed is %d", g.name, hw, show(log), len(c.truth))
		}
		for i := range log.batches {
			if b := &log.batches[i]; b.base >= int64(len(c.truth)) || !c.truth[b.base].is(b) {
				c.s.violate("M", "%s has batch %d of epoch %d at %d, and others do not", g.name, b.uid, b.epoch, b.base)
			}
		}
	}
}

// Violation is an invariant that did not hold.
type Violation struct {
	Invariant string
	At        string
	Text      string
}

func (v *Violation) String() string { return fmt.Sprintf("%s at %s: %s", v.Invariant, v.At, v.Text) }

// violate notes the first violation; the run ends.
func (s *Simulation) violate(invariant, format string, args ...any) {
	if s.Violation == nil {
		s.Violation = &Violation{invariant, s.now.String(), strings.TrimSpace(fmt.Sprintf(format, args...))}
		s.trace("VIOLATION %s", s.Violation)
	}
}
