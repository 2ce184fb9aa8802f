package forward

import "time"

// Policy is how patient a queue is. Zero fields are the defaults.
type Policy struct {
	// ParkAfter is how long a batch waits in memory for its answer where one
	// durable copy is what was promised: so long its senders wait in a failover.
	ParkAfter time.Duration
	// ParkHeldAfter is the same where parking confirms nothing.
	ParkHeldAfter time.Duration
	// RefuseAfter is how long a batch waits in memory when it can't be parked.
	RefuseAfter time.Duration
	// BackoffMin and BackoffMax bound the time between attempts.
	BackoffMin, BackoffMax time.Duration
}

// Defaults and limits.
const (
	ParkAfterDefault     = 250 * time.Millisecond
	ParkHeldAfterDefault = time.Second
	RefuseAfterDefault   = 5 * time.Second
	BackoffMinDefault    = 20 * time.Millisecond
	BackoffMaxDefault    = time.Second

	InFlightMax  = 5               // batches of one partition at its leader
	StaleMax     = 4 * InFlightMax // attempts at leaders of the past, before new ones wait for their end
	SequenceMax  = 1 << 30         // of a producer; then comes a new one
	ReadBytesMax = 256 << 10       // read back at a time; one batch comes whatever its size
	ReadersMax   = 8               // partitions whose parked batches are in memory
	parkRetry    = time.Second     // between attempts to park where flash refused
)

func (p *Policy) setDefaults() {
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&p.ParkAfter, ParkAfterDefault},
		{&p.ParkHeldAfter, ParkHeldAfterDefault},
		{&p.RefuseAfter, RefuseAfterDefault},
		{&p.BackoffMin, BackoffMinDefault},
		{&p.BackoffMax, BackoffMaxDefault},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
}

// parkAfter is how long it waits in memory.
func (p *Policy) parkAfter(it *Item) time.Duration {
	if it.Confirm {
		return p.ParkAfter
	}
	return p.ParkHeldAfter
}
