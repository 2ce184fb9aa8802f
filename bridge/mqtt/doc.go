// Package mqtt is the gateway's MQTT server, 3.1.1 and 5.0: device messages
// come in here, and this is where the promise is given.
//
//	A PUBACK (QoS 1) or PUBREC (QoS 2) leaves after the record is committed,
//	never before; what could not be stored is never confirmed.
//
// # One message's way
//
// The connection's goroutine reads a PUBLISH, finds its [Route], makes a record
// of it, enters it in the client's [AckQueue] and hands it to the [Appender],
// which copies it and returns. When the commit is done the Appender calls
// Complete for each record, then Flush once: the acks of one commit leave in
// one write, in the order of the client's PUBLISHes.
//
// Refused records are answered with a reason code in MQTT 5. MQTT 3.1.1 has
// none: that client gets no ack and its connection is closed after the acks
// before it, so it will send the message again.
//
// # Goroutines
//
//	accept      one per listener; lives through every error of Accept
//	serve       one per connection: reads, decodes, appends, tears down
//	write       one per connection, only while there is output
//	tail        one per partition, only while somebody subscribes to it
//
// One mutex per connection guards everything that acks, deliveries and the two
// goroutines share. Complete and Flush take it for some nanoseconds and never
// wait for the network. Locks are taken in the order fan-out, connection.
//
// # Subscribers
//
// SUBSCRIBE is served from the committed log by an independent reader, starting
// at the high watermark. A subscriber that can't keep up loses QoS 0 messages
// (counted) or, at QoS 1, its connection (0x97); ingest never notices.
//
// # Limits
//
// Whatever a client makes the server keep has a limit in [Limits]: its own, and
// for what can be large (read buffers, delivery queues, subscriptions, topic
// aliases) one budget for all clients together. An idle connection holds no
// buffers but a small one for reading.
//
// # What MQTT allows a server to leave out, and how it is said
//
// Sessions end with the connection: Session Present is always 0, and a client
// that asked for a Session Expiry Interval is told 0. Shared subscriptions and
// subscription identifiers are announced as not available. Wills are read and
// checked, but not published (counted, logged once per client).
//
// Retained messages are not kept for later subscribers, yet Retain Available
// stays 1: announcing 0 would make every MQTT 5 PUBLISH or will with the retain
// flag an error (0x9A), and devices set that flag on plain readings as a matter
// of course. The message is a record like any other, with a header mqtt.retain.
package mqtt
