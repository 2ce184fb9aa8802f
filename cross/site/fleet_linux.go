package site

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"cistern/cross/rig"
)

// Fleet is devices that publish numbered messages. Device i calls gateway i mod n
// first.
type Fleet struct {
	Devices []*rig.Device
	homes   []*Gateway
	stop    context.CancelFunc
	running sync.WaitGroup
	failed  []error
}

const (
	topicsPerDevice = 2
	deviceWindow    = 4
	deviceKeepAlive = time.Second
	deviceAckWait   = 2 * time.Minute // longer than any fault here
)

// StartFleet starts n devices spread over the gateways given, each publishing
// every interval until Stop. Devices that roam go on to the next gateway when
// theirs does not answer; the others call theirs until it is back.
func (s *Site) StartFleet(ctx context.Context, n int, interval time.Duration, roam bool, homes ...*Gateway) *Fleet {
	ctx, stop := context.WithCancel(ctx)
	f := &Fleet{stop: stop, failed: make([]error, n)}
	s.fleets++
	for i := range n {
		home := homes[i%len(homes)]
		d := s.device(fmt.Sprintf("device-%d-%d", s.fleets, i), interval)
		d.Brokers = []string{home.Address}
		for k := 1; roam && k < len(homes); k++ {
			d.Brokers = append(d.Brokers, homes[(i+k)%len(homes)].Address)
		}
		f.Devices, f.homes = append(f.Devices, d), append(f.homes, home)
		f.running.Go(func() { f.failed[i] = d.Run(ctx) })
	}
	return f
}

// device makes one whose payloads say by which gateway they came: the order of a
// device's messages is promised for each (see DESIGN of segstore/forward).
func (s *Site) device(name string, interval time.Duration) *rig.Device {
	at, turn := "", 0
	return &rig.Device{
		ClientID: name, Ledger: s.Ledger, Interval: interval, Window: deviceWindow,
		KeepAlive: deviceKeepAlive, AckWait: deviceAckWait,
		Dial: func(address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
			defer cancel()
			c, err := s.World.dial(ctx, address)
			at = address // read by Message only after the connection is made
			return c, err
		},
		Message: func(number func(string) int64) (string, int64, []byte) {
			turn++
			topic := fmt.Sprintf("plant/%s/value%d", name, turn%topicsPerDevice)
			seq := number(topic)
			return topic, seq, fmt.Appendf(nil, `{"seq":%d,"by":%q,"c":%d.%d}`, seq, at, 20+seq%60, seq%10)
		},
	}
}

// Stop lets every device settle what it has in flight.
func (f *Fleet) Stop() error {
	f.stop()
	f.running.Wait()
	return errors.Join(f.failed...)
}

// Forget begins a new measurement of waits.
func (f *Fleet) Forget() {
	for _, d := range f.Devices {
		d.Forget()
	}
}

// Waited is the longest wait of the devices at home at one gateway, or, when at
// is nil, of all.
func (f *Fleet) Waited(at *Gateway) (longest time.Duration) {
	for i, d := range f.Devices {
		if at == nil || f.homes[i] == at {
			longest = max(longest, d.Waited())
		}
	}
	return longest
}

// Waiting is how long ago the last confirmation of the device was that has waited
// longest.
func (f *Fleet) Waiting() (longest time.Duration) {
	for _, d := range f.Devices {
		longest = max(longest, d.Waiting())
	}
	return longest
}

// Waits are the waits of all devices.
func (f *Fleet) Waits() (all []time.Duration) {
	for _, d := range f.Devices {
		all = append(all, d.Waited())
	}
	return all
}
