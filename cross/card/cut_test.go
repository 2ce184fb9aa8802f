//go:build image

package card

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"cistern/cross/rig"
)

const (
	rounds = 3
	// before a cut so many messages are confirmed, and then some writes let by.
	confirmedFirst = 200
	writesMax      = 60
)

// seed of the cuts: CISTERN_CARD_SEED repeats a run, as far as an emulator can
// be repeated.
func seed(t *testing.T) uint64 {
	s := uint64(time.Now().UnixNano())
	if e := os.Getenv("CISTERN_CARD_SEED"); e != "" {
		var err error
		s, err = strconv.ParseUint(e, 10, 64)
		must(t, err)
	}
	t.Logf("CISTERN_CARD_SEED=%d", s)
	return s
}

// Proves the promise of a PUBACK on the image that ships, to the card: devices
// publish with QoS 1, the power goes in the middle of a write, what the card has
// not flushed is lost, torn or kept as the seed says, and that several times, with
// the uplink cut and mended. In the end every confirmed message is at the centre,
// once and in order.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	s := seed(t)
	fate := rand.New(rand.NewPCG(s, 0))
	c, l := startCentre(t), rig.NewLedger()
	g := insert(t, Options{Uplink: c.port})
	boot(t, g)
	stop := publish(t, g, l)
	for round := range rounds {
		if round > 0 {
			c.mend() // what is cut from now on is also a drain
		}
		must(t, l.AwaitConfirmed(within(t, bootTime), confirmedFirst))
		g.Card.CutAfter(1+fate.Int64N(writesMax), fate.Uint64())
		cut, err := g.AwaitCut(within(t, bootTime))
		must(t, err)
		t.Logf("round %d: power cut with %d messages confirmed: %v", round+1, l.Tally().Confirmed, cut)
		boot(t, g)
	}
	must(t, l.AwaitConfirmed(within(t, bootTime), confirmedFirst))
	stop()
	c.good(t, g, l)
}
