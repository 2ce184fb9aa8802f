package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"cistern/segstore/replica"
)

// Options are what a run is like. Draw makes them from a seed, so that each run
// is hard in its own way: one has a network that loses half of everything, the
// next a good one and a controller that answers late.
type Options struct {
	Gateways  int
	Replicas  int
	MinInsync int
	Trouble   time.Duration // how long the nemeses act

	Loss      float64       // of messages
	Duplicate float64       // of messages
	Delay     time.Duration // of a message, on average
	Late      float64       // of messages that take LateMax at most
	LateMax   time.Duration
	Sync      time.Duration // an fdatasync, on average
	Image     time.Duration // until a gateway hears what was agreed, on average
	Lost      float64       // of the controller's answers
	Detect    time.Duration // until a death is noticed
	Produce   time.Duration // between batches of a gateway, on average
	LagMax    time.Duration // replica_lag_max
	ParkAfter time.Duration
	Replace   time.Duration // until a dead gateway's replicas go to others; 0: never
	Unclean   bool          // an operator elects uncleanly where nobody leads

	Every [nemeses]time.Duration // between acts of each nemesis, on average; 0: never

	Rules replica.Rules // switched off
	Only  Fault         // a mutant of the world around the protocol
}

// Draw returns the options of a seed.
func Draw(seed uint64) Options {
	r := rand.New(rand.NewPCG(seed, 0x0b71005))
	ms := func(low, high int) time.Duration { return time.Duration(low+r.IntN(high-low+1)) * time.Millisecond }
	maybe := func(p, v float64) float64 {
		if r.Float64() < p {
			return v * r.Float64()
		}
		return 0
	}
	o := Options{
		Gateways: 3 + r.IntN(3), Replicas: 3, MinInsync: 2, Trouble: ms(8000, 25000),
		Loss: maybe(0.6, 0.3), Duplicate: maybe(0.6, 0.3), Delay: ms(1, 30), Late: maybe(0.5, 0.2), LateMax: ms(300, 6000),
		Sync: ms(1, 60), Image: ms(1, 400), Lost: maybe(0.6, 0.5), Detect: ms(300, 2000),
		Produce: ms(15, 150), LagMax: ms(300, 2000), ParkAfter: ms(200, 2000), Unclean: r.IntN(4) == 0,
	}
	switch r.IntN(6) {
	case 0:
		o.MinInsync = 1
	case 1:
		o.Replicas, o.MinInsync = 2, 1+r.IntN(2)
	case 2:
		o.Replicas, o.MinInsync = o.Gateways, 1+r.IntN(2)
	}
	if r.IntN(3) == 0 {
		o.Replace = ms(2000, 8000)
	}
	for i := range o.Every {
		if r.IntN(2) == 0 {
			o.Every[i] = ms(400, 8000)
		}
	}
	if r.IntN(6) == 0 {
		o.late()
	}
	return o
}

// late makes a network that holds messages up for long, while leaders change
// all the time.
func (o *Options) late() {
	*o = Options{Gateways: 3, Replicas: 3, MinInsync: 2, Trouble: o.Trouble, Delay: o.Delay, Sync: 4 * o.Sync, Image: o.Image, Detect: o.Detect,
		Duplicate: 0.5, Late: 0.5, LateMax: 4 * time.Second, Produce: o.Produce, LagMax: 2 * time.Second, ParkAfter: o.ParkAfter}
	o.Every[handOver], o.Every[slander], o.Every[reboot] = 500*time.Millisecond, 3*time.Second, 3*time.Second
}

// String is one line that says what is special about the run.
func (o Options) String() string {
	type plain Options
	return fmt.Sprintf("%+v", plain(o))
}
