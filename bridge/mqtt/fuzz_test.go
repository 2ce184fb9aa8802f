package mqtt

import (
	"io"
	"net"
	"testing"
	"time"

	"cistern/bridge/mqtt/packet"
)

// FuzzServer sends arbitrary bytes after a CONNECT of either version. The
// server must end that connection, or answer, and go on serving others.
func FuzzServer(f *testing.F) {
	var stream []byte
	for i, v := range versions {
		p := packet.Publish{Topic: []byte("a/b"), QoS: byte(1 + i), PacketID: 3, Payload: []byte("x")}
		stream = p.AppendTo(nil, v)
		stream = packet.AppendAck(stream, v, packet.TypePubrel, 3, packet.Success)
		sub := packet.Subscribe{PacketID: 9}
		sub.Add("a/#", 1)
		stream = packet.AppendPingreq(sub.AppendTo(stream, v))
		f.Add(stream, i == 1)
	}
	g := start(f, func(c *Config) { c.Limits.ConnectRate, c.Limits.ConnectBurst = 1<<20, 1<<20 })
	g.store.auto = true
	watcher := g.connect(packet.V311, "watcher")
	f.Fuzz(func(t *testing.T, b []byte, five bool) {
		v := packet.V311
		if five {
			v = packet.V5
		}
		nc, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		hello := packet.Connect{Version: v, CleanStart: true}
		nc.Write(append(hello.AppendTo(nil), b...))
		nc.(*net.TCPConn).CloseWrite()
		nc.SetDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, nc); isTimeout(err) {
			t.Fatal("the connection was not closed")
		}
		for len(g.store.arrived) > 0 {
			<-g.store.arrived
		}
		watcher.t = t
		watcher.ping()
	})
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}
