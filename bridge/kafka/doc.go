// Package kafka speaks the Kafka protocol: as a client, the few requests that
// a drain needs, over connections whose order it controls; and as a [Server],
// whatever requests its user has routes for.
//
// The client exists beside the full clients because of two needs they do not serve.
// Stored batches must leave byte for byte, under a producer id and sequence
// that the caller chose; and up to five of them per partition must be in
// flight on one connection, in an order that is known. So a [Conn] is a plain
// pipeline:
//
//	         Start ──▶ encode ──▶ write ──▶ │ broker
//	caller     │          (one lock: order of Start = order on the wire)
//	           └──▶ pending: FIFO of {correlation id, deadline, size limit}
//	                   ▲
//	reader ────────────┘ ◀── size checked before allocation ◀── │ broker
//	   └──▶ done(response, err), exactly once, in the order of Start
//
// A request that is not answered in time, an answer that is out of order, too
// large or unreadable ends the connection and everything pending on it, since
// nothing behind it can be trusted to belong to what we asked.
//
// A [Client] knows the cluster: it finds brokers, keeps one control connection
// to each that it asks something, and opens further connections for produce.
// Every version is negotiated per broker and held at what Kafka 2.8 has, which
// all releases up to 4.x still speak: one path to test. Older brokers are
// refused by name ([ErrTooOld]).
//
// A [Server] is the same pipeline from the other end. It reads the requests of
// a connection one after the other and may answer them in any order: answers
// wait until it is their turn, and leave many at a time. What a connection has
// pending is bounded, in requests and bytes; then it is not read. A request's
// size is judged before there is memory for it, and its counts are before they
// are decoded (see [Route]). One that makes no sense ends its connection.
//
// Nothing here retries or waits in the background. The caller decides what a
// failure means; every call takes a context and returns soon after it ends.
package kafka
