package forward

import "time"

// Policy is how patient a queue is. Zero fields are the defaults.
type Policy struct {
	// ParkAfter is how long a batch waits in memory for its answer, where one
	// durable copy is what was promised: until then its senders wait.
	ParkAfter time.Duration
	// ParkHeldAfter is the same where parking confirms nothing.
	ParkHeldAfter time.Duration
	// RefuseAfter is how long a batch waits in memory when it can't be parked.
	RefuseAfter time.Duration
	// BackoffMin and BackoffMax bound the time between attempts.
	BackoffMin, BackoffMax time.Duration
}
