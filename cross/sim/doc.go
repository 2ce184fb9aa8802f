// Package sim asks: does the protocol hold, whatever happens, in whatever order?
//
// It runs the code that ships (replica.Partition, controller.Apply and Decide,
// forward.Queue) in a world of its own: one thread, one clock, one source of
// chance. Three to five gateways, each with a card that loses what was not synced,
// a network that drops, doubles, delays and reorders, a quorum whose answers get
// lost, devices that publish, and nemeses that kill, cut, pause and lie. A minute
// of a site's life takes some ten milliseconds, and the same seed is the same run.
//
//	ingress ─ forward.Queue ─┐            ┌─ card: journal, small facts, parked log
//	                         ├── gateway ─┤
//	replica.Partition ───────┘     │ ▲    └─ dies, comes back, is paused, gets another card
//	                       network │ │ images, late
//	                               ▼ │
//	                             quorum: controller.Apply, Decide
//	                                 ▲
//	                     checker ────┘ looks at everything, all the time
//
// Each seed draws its own options (swarm testing): which nemeses act and how often,
// how bad network and cards are. At the end everything is healed, and has to
// become well again within a bound.
//
// The checker (check.go) knows what was shown below any high watermark, and
// compares every gateway with it: see there for the invariants. What the simulator
// can find is tested too: TestMutants switches each rule of the protocol off, and
// the fault that follows has to be found.
//
//	go test ./cross/sim                              seeds 1 to 500, and those kept
//	CISTERN_SIM_SEEDS=10000 go test ./cross/sim      as in CI
//	make sim                                         20,000 that nobody has run before
//	CISTERN_SIM_SEED=7 go test -run TestSeed -v ./cross/sim   every step of one
//
// Not simulated: raft itself (gossip/quorum has its tests), records inside batches,
// more than one partition, the bytes on flash (segstore's crash tests), cards that
// lie about a sync.
package sim
