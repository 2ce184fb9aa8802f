package rig

import (
	"fmt"
	"hash/maphash"
	"sync"
	"time"
)

// Ledger keeps what was published and what was confirmed, and judges what
// arrived. A message is named by its MQTT topic and a sequence number that
// counts from 1 within the topic and stands in the payload.
//
// A message whose confirmation never came (the gateway died first) may or may
// not have been stored. Nobody resends it under the same number: the device
// goes on with its next reading, and the old one is "unconfirmed" for ever. It
// may arrive or not; it may not arrive twice, nor after a newer one.
type Ledger struct {
	seed maphash.Seed

	mu     sync.Mutex
	topics map[string][]entry // entry i is sequence number i+1

	published, confirmed, abandoned int64

	patience patience // of somebody who waits for any confirmation
}

type entry struct {
	hash      uint64 // of the payload: what arrives must be what was sent
	confirmed bool
	arrived   uint32
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{seed: maphash.MakeSeed(), topics: make(map[string][]entry)}
}

// Next returns the sequence number of the topic's next message.
func (l *Ledger) Next(topic string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.topics[topic])) + 1
}

// Published enters a message before it is sent. Messages of one topic are
// entered in the order of their sequence numbers.
func (l *Ledger) Published(topic string, seq int64, payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries := l.topics[topic]
	if int64(len(entries)) != seq-1 {
		panic(fmt.Sprintf("rig: %s: number %d after %d", topic, seq, len(entries)))
	}
	l.topics[topic] = append(entries, entry{hash: maphash.Bytes(l.seed, payload)})
	l.published++
}

// Confirmed enters the PUBACK of a message.
func (l *Ledger) Confirmed(topic string, seq int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.topics[topic][seq-1].confirmed = true
	l.confirmed++
	l.patience.rewarded()
}

// IsConfirmed tells whether a message was confirmed. One that was never published
// was not.
func (l *Ledger) IsConfirmed(topic string, seq int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries := l.topics[topic]
	return seq >= 1 && seq <= int64(len(entries)) && entries[seq-1].confirmed
}

// EachConfirmed calls visit with every message that was confirmed, by topic in
// the order of their numbers.
func (l *Ledger) EachConfirmed(visit func(topic string, seq int64)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for topic, entries := range l.topics {
		for i := range entries {
			if entries[i].confirmed {
				visit(topic, int64(i)+1)
			}
		}
	}
}

// Forget begins a new measurement of Waited.
func (l *Ledger) Forget() { l.patience.forget() }

// Waited is the longest time in which nobody at all was confirmed.
func (l *Ledger) Waited() time.Duration { return l.patience.longest() }

// Abandoned enters that the PUBACK of a message will never come.
func (l *Ledger) Abandoned() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.abandoned++
}

// Tally is how many messages were published, and what became of them.
type Tally struct {
	Published, Confirmed, Abandoned int64
}

// InFlight is how many are waiting for their confirmation.
func (t Tally) InFlight() int64 { return t.Published - t.Confirmed - t.Abandoned }

// Tally returns the numbers so far.
func (l *Ledger) Tally() Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Tally{l.published, l.confirmed, l.abandoned}
}
