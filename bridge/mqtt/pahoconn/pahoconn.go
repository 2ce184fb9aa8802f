// Package pahoconn makes connections for paho, the MQTT client. Of its own paho
// dials in a way that nobody can interrupt, connects again by itself, keeps a copy
// of every message, and trusts what a broker sends. Here a client is for one
// connection, which ends with a context, and all bytes pass a guard of the caller's.
package pahoconn

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Config is one connection to a broker.
type Config struct {
	Address  string // host:port
	ClientID string
	User     string // empty: none
	Password string
	TLS      *tls.Config   // nil: plain TCP
	Timeout  time.Duration // of TCP and TLS together; of CONNACK as well

	// Dial replaces the dialer; nil: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Guard gets the connection, on a goroutine of paho's, and returns what paho
	// shall see in its place.
	Guard func(net.Conn) net.Conn
	// Lost is told why paho has given the connection up.
	Lost func(error)
}

// Options returns what a client for this connection needs. Dialing ends with ctx.
func (c Config) Options(ctx context.Context) *mqtt.ClientOptions {
	return mqtt.NewClientOptions().
		AddBroker("tcp://" + c.Address).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return c.dial(ctx) }).
		SetProtocolVersion(4). // explicit: paho would offer the password to 3.1 as well
		SetClientID(c.ClientID).
		SetUsername(c.User).
		SetPassword(c.Password).
		SetStore(noStore{}).
		SetAutoReconnect(false).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.Lost(err) }).
		SetConnectTimeout(c.Timeout)
}

func (c Config) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := dial(ctx, "tcp", c.Address)
	if err != nil {
		return nil, err
	}
	if c.TLS != nil {
		t := tls.Client(nc, c.TLS)
		if err := t.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, err
		}
		nc = t
	}
	return c.Guard(nc), nil
}

// Connect connects a client with the Options of ctx. When ctx ends first, hangUp
// is called: it has to close the socket, if there is one, for the wait for CONNACK
// to end. After an error paho has given up and cleaned up.
func Connect(ctx context.Context, client mqtt.Client, hangUp func()) (sessionPresent bool, err error) {
	token := client.Connect().(*mqtt.ConnectToken)
	select {
	case <-token.Done():
	case <-ctx.Done():
		hangUp()
		<-token.Done()
	}
	return token.SessionPresent(), token.Error()
}

// Hint says what to look at after a broker has refused a connection with err: it
// goes behind the error. Empty: nothing in particular.
func Hint(err error) string {
	switch {
	case errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword), errors.Is(err, packets.ErrorRefusedNotAuthorised):
		return ": check user, password_file and the broker's access list"
	case errors.Is(err, packets.ErrorRefusedIDRejected):
		return ": check client_id"
	}
	return ""
}

// noStore stands where paho keeps a copy of every message under way. What comes in
// the broker keeps until it is acknowledged, what goes out the log has: a second
// copy would double the memory of a full window and is never read.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
