// Package pace decides when the next bytes may leave the gateway: how fast, at
// which hours, how many a day, and whose turn it is.
package pace

// Class is a kind of traffic that shares the uplink with others. Classes that
// want to send at once take turns by weight.
type Class struct {
	Lane     string // of the stream, see metadata.Lanes
	Backfill bool   // what was left behind by an outage, see drain.OrderLiveFirst
}

// Gate is the way out, which all partitions of a gateway share. A nil Gate is
// always open.
type Gate struct{}

// Pass is a place in the queue at the Gate.
type Pass struct{ granted chan struct{} }

// Ask queues for n bytes. Every Pass must be used (its bytes sent) or cancelled.
func (g *Gate) Ask(c Class, n int) *Pass {
	p := &Pass{granted: make(chan struct{})}
	close(p.granted)
	return p
}

// Granted is closed when the bytes may leave.
func (p *Pass) Granted() <-chan struct{} { return p.granted }

// Cancel gives up the place, or gives back bytes that were granted and not sent.
func (p *Pass) Cancel() {}
