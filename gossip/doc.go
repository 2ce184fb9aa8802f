// Package gossip answers one question: who is alive on the site?
//
// Gateways ask each other in turn whether they are there (SWIM, by
// hashicorp/memberlist): a few small encrypted packets a second, however large
// the site. Who does not answer is asked through others, then over TCP, then
// suspected, and dead when it has not contradicted in time. News travel along
// with the questions, and so does the Meta of each gateway: a few facts that
// all others may know at once, such as where its site port is.
//
//	m, err := gossip.New(gossip.Config{Name: "shed", Bind: ":7946", Key: key, Join: []string{"10.0.0.7"}})
//	go m.Run(ctx)
//	changed, stop := m.Watch()
//	for range changed {
//		for _, member := range m.Members() { ... }
//	}
//
// What is said here is a hint, never a fact. "Dead" may be a cut cable, and two
// gateways may disagree. Who leads and what is confirmed is agreed on in
// gossip/quorum, which uses the hints to know when to ask.
//
// # States
//
//	Alive ◀──▶ Suspect   did not answer this gateway; did again
//	  │  ▲        │
//	  ▼  │        ▼
//	Left └────── Dead     the site has given it up; and it may come back,
//	                      as may who has Left on its own word
//
// Suspect is this gateway's own impression: it could not reach the member
// directly the last time it tried. Others may still reach it, and then it stays
// Suspect here and never becomes Dead. A member that one of the others gives up
// can be Dead without having been Suspect here.
//
// # Joining
//
// Addresses to join are tried for ever, names among them resolved anew each
// time, and so is where each dead member was last. Two halves of a site find
// each other after a cut, whichever side had the configured addresses. With
// mDNS, gateways that have the same site key find each other without any.
//
// # Who calls whom
//
// memberlist calls back while it holds its lock, where a slow log would stop the
// failure detector of the whole gateway. So the callbacks put the latest state
// of the member into the roster, a map under a mutex of its own, and return.
// One goroutine of Run, the teller, logs what changed, and memberlist's own log
// lines with it. When changes come faster than they are told, only the last
// counts: liveness is state, not history.
package gossip
