// Package nats is a NATS client as small as a gateway needs it: publish, with
// headers, and request with an answer. JetStream is only that, so what it adds
// is JSON (see natssink). It speaks the client protocol of NATS 2.2 and later,
// https://docs.nats.io/reference/reference-protocols/nats-protocol.
//
// # Why not nats.go
//
// github.com/nats-io/nats.go v1.55.0 was measured: the linux/arm agent grows by
// 524 kB, to 15.93 of the 16.0 MB that are promised, before the sink that uses
// it; this package is 26 kB of code. It also allocates whatever length a server announces, reconnects by
// itself and buffers meanwhile, which a drain must not: it has to know what was
// answered on which connection.
//
// # What it leaves out
//
// Subscriptions other than the one for answers, reconnecting (a [Conn] ends once,
// the caller connects anew), servers that the server tells about, WebSocket,
// TLS before INFO (handshake_first), and plain nkeys without a credentials file.
package nats
