package pahoconn

import (
	"context"
	"net"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// TestConnectEndsWithItsContext: in every phase, and long before the timeout.
func TestConnectEndsWithItsContext(t *testing.T) {
	t.Run("dial", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		connect(t, ctx, func(dialing context.Context, _, _ string) (net.Conn, error) {
			cancel()
			<-dialing.Done()
			return nil, dialing.Err()
		})
	})
	t.Run("no CONNACK", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		connect(t, ctx, func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			t.Cleanup(func() { theirs.Close() })
			go func() {
				_, _ = theirs.Read(make([]byte, 1)) // CONNECT begins
				cancel()
			}()
			return ours, nil
		})
	})
}

func connect(t *testing.T, ctx context.Context, dial func(context.Context, string, string) (net.Conn, error)) {
	t.Helper()
	sockets := make(chan net.Conn, 1)
	settings := Config{Address: "broker:1883", ClientID: "test", Dial: dial, Timeout: time.Hour,
		Guard: func(nc net.Conn) net.Conn { sockets <- nc; return nc },
		Lost:  func(error) {}}
	_, err := Connect(ctx, mqtt.NewClient(settings.Options(ctx)), func() {
		select {
		case nc := <-sockets:
			nc.Close()
		default:
		}
	})
	if err == nil {
		t.Error("connected to nobody")
	}
}
