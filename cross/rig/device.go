package rig

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// Device publishes over MQTT with QoS 1 through paho, as a device in a plant
// would, and enters into the ledger what was confirmed. When its gateway is gone
// it calls the next one that it knows, in turn, until one answers.
type Device struct {
	ClientID string
	Brokers  []string // host:port each, the first one first
	Ledger   *Ledger

	// Message makes the next message; seq is its number within topic, given by
	// number. It is called from one goroutine, at the pace of Interval.
	Message  func(number func(topic string) int64) (topic string, seq int64, payload []byte)
	Interval time.Duration // between two messages; 0 is as fast as the window allows
	Window   int           // messages without confirmation; 0 is windowDefault

	Dial      func(address string) (net.Conn, error) // nil is the machine's own network
	KeepAlive time.Duration                          // 0 is keepAliveDefault
	AckWait   time.Duration                          // for the last confirmations; 0 is ackWaitDefault

	patience patience
}

const (
	windowDefault    = 64
	redialDelay      = 20 * time.Millisecond
	dialTimeout      = 2 * time.Second
	ackWaitDefault   = 20 * time.Second
	keepAliveDefault = 10 * time.Second
)

// Run publishes until ctx ends, then waits for what is still to be confirmed.
func (d *Device) Run(ctx context.Context) error {
	d.patience.begin()
	for call := 0; ctx.Err() == nil; call++ {
		lost := make(chan struct{})
		client, err := d.connect(d.Brokers[call%len(d.Brokers)], lost)
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(redialDelay): // the gateway is down
			}
			continue
		}
		err = d.session(ctx, client, lost)
		client.Disconnect(0)
		if err != nil {
			return err
		}
	}
	return nil
}

// connect makes a new client for every connection. paho would reconnect and
// resend by itself, but then a message the gateway had stored without having
// been able to confirm it would be sent again under the same number.
func (d *Device) connect(broker string, lost chan struct{}) (mqtt.Client, error) {
	o := mqtt.NewClientOptions().
		AddBroker("tcp://" + broker).
		SetClientID(d.ClientID).
		SetCleanSession(true).
		SetAutoReconnect(false).
		SetConnectTimeout(dialTimeout).
		SetKeepAlive(cmp.Or(d.KeepAlive, keepAliveDefault)).
		SetPingTimeout(cmp.Or(d.KeepAlive, keepAliveDefault)).
		SetWriteTimeout(3 * time.Second).
		SetConnectionLostHandler(func(mqtt.Client, error) { close(lost) })
	if d.Dial != nil {
		o.SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) { return d.Dial(u.Host) })
	}
	client := mqtt.NewClient(o)
	t := client.Connect()
	t.Wait()
	return client, t.Error()
}

// Forget begins a new measurement of Waited. What the device waits for just now
// counts in full.
func (d *Device) Forget() { d.patience.forget() }

// Waited is the longest time that passed between two confirmations, or since the
// last one. It includes calling again where that was needed. Confirmations count
// in the order of the messages: one that is late holds up those behind it.
func (d *Device) Waited() time.Duration { return d.patience.longest() }

// Waiting is how long the device has waited since its last confirmation.
func (d *Device) Waiting() time.Duration { return d.patience.now() }

type sent struct {
	topic string
	seq   int64
	token mqtt.Token
}

// session publishes over one connection and returns when it is lost or ctx
// ends, with every message of it either confirmed or abandoned.
func (d *Device) session(ctx context.Context, client mqtt.Client, lost <-chan struct{}) error {
	window := d.Window
	if window == 0 {
		window = windowDefault
	}
	var (
		flying  = make(chan sent, window)
		outcome error
		settled sync.WaitGroup
	)
	settled.Go(func() { outcome = d.settle(flying, lost) })
	d.publish(ctx, client, lost, flying)
	close(flying)
	settled.Wait()
	return outcome
}

func (d *Device) publish(ctx context.Context, client mqtt.Client, lost <-chan struct{}, flying chan<- sent) {
	pace, stop := paced(d.Interval)
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-lost:
			return
		case <-pace:
		}
		if ctx.Err() != nil || !client.IsConnectionOpen() {
			return
		}
		topic, seq, payload := d.Message(d.Ledger.Next)
		d.Ledger.Published(topic, seq, payload)
		flying <- sent{topic, seq, client.Publish(topic, 1, false, payload)}
	}
}

// settle waits for each confirmation in turn. When the connection is lost paho
// ends the tokens with an error before it says so; a message that slipped in
// after that has a token that never ends.
func (d *Device) settle(flying <-chan sent, lost <-chan struct{}) error {
	var silent error
	wait := cmp.Or(d.AckWait, ackWaitDefault)
	for s := range flying {
		select {
		case <-s.token.Done():
		case <-lost:
		case <-time.After(wait):
			silent = fmt.Errorf("rig: %s: connected, and no PUBACK for %s", d.ClientID, wait)
		}
		if confirmed(s.token) {
			d.Ledger.Confirmed(s.topic, s.seq)
			d.patience.rewarded()
		} else {
			d.Ledger.Abandoned()
		}
	}
	return silent
}

func confirmed(t mqtt.Token) bool {
	select {
	case <-t.Done():
		return t.Error() == nil
	default:
		return false
	}
}

// paced returns a channel that lets one message through every interval.
func paced(interval time.Duration) (pace <-chan time.Time, stop func()) {
	if interval > 0 {
		ticker := time.NewTicker(interval)
		return ticker.C, ticker.Stop
	}
	always := make(chan time.Time)
	close(always)
	return always, func() {}
}
