// Package source reads an external MQTT broker into the gateway's streams, for
// sites that have a broker already.
//
// # The promise
//
// A message is acknowledged to the broker only after its record is as safe as
// its stream promises (ingest.Completion). Until then the broker keeps it, and
// sends it again after anything that can happen here: a lost connection, kill
// -9, a power cut. So a QoS 1 or 2 message that the broker delivers is stored
// at least once, and the first copies lie in the order of delivery. Some are
// stored twice: what was stored but not yet acknowledged when the connection
// ended, one window at most. A clean stop waits a moment for commits under way
// and normally repeats nothing. QoS 2 buys nothing over QoS 1 here.
//
// # How one message passes
//
//	broker ─▶ guard ─▶ paho ─▶ window ─▶ feed ─▶ Router, Appender
//	broker ◀─ guard ◀─ paho ◀─ window ◀─ acknowledge ◀─ ingest.Completion
//
// A guard between the socket and paho lets only well-formed packets through.
// paho calls one handler in order of arrival (SetOrderMatters) which only puts
// the message into the window. feed appends one message after the other, and
// tries a refused one (ingest.ErrFull) again until it is taken: nothing behind
// it moves and nothing is acknowledged, so a full gateway shows at the broker
// as a queue. acknowledge sends acks in order of arrival. All of it belongs to
// one connection; the next connection starts with an empty window after the
// goroutines of the last one are gone, so a late commit can't acknowledge a
// packet id that now means another message.
//
// # A full window
//
// The window is bounded in messages (Config.Window) and bytes (WindowBytesMax).
// When it is full the handler waits, paho stops reading, and TCP holds the
// broker back. paho then can't see PINGRESP either, since it lies behind the
// messages nobody reads. So the handler waits no longer than 10 s for a slot;
// after that the connection is given up without acknowledging anything, status
// says why, and the source comes back after a back-off. A broker that keeps no
// more messages in flight than Config.Window never gets there with QoS 1 and 2:
// the connection then survives hours of a full gateway.
//
// # What is dropped, and counted
//
// QoS 0 messages that the gateway refuses (nobody would send them again), and
// messages that can never become a record: no route, or larger than a batch.
// The latter are acknowledged, else one of them would hold up all others for
// ever. Both have counters, and status names the last.
//
// Retained messages that the broker repeats on every subscription are skipped
// and acknowledged unless Config.Retained says otherwise. A message that is
// published with the retain flag while the source is subscribed arrives as any
// other.
//
// # What the broker does to messages before we see them
//
// No client can mend these. Values are those of Mosquitto 2.0:
//
//   - max_queued_messages (1000): what a session may have waiting while we are
//     away or slow. Everything above is dropped without a word to anybody.
//     Set it to rate × longest absence. max_queued_bytes does the same.
//   - max_inflight_messages (20): unacknowledged messages per session, which
//     caps the rate at 20 per commit time: 1000/s at 20 ms. Set it to 200 or
//     more, and Config.Window at least as high. (2.0.11 does not keep to its
//     limit while it has a queue, see its issue 2301; seen were 861 with a
//     limit of 20. The window holds whatever comes.)
//   - persistence (false) and autosave_interval (1800 s): sessions and queues
//     live in memory and are saved that often and on a clean stop. A broker
//     that crashes or loses power loses what came since, including messages
//     it had confirmed to their publishers.
//   - persistent_client_expiration: a session away for longer is forgotten,
//     with its queue.
//   - queue_qos0_messages (false): QoS 0 is not kept while we are away.
//
// When the broker has forgotten the session, Status.SessionsLost counts it and
// the log says so.
//
// The broker sees one client id. Two gateways with the same one throw each
// other out; a shared subscription ($share) is refused by Config.Validate since
// messages of a gateway that died would wait in its session.
//
// # A hostile broker
//
// paho allocates whatever length a packet announces, and a SUBACK with more
// codes than asked ends the process (paho.mqtt.golang #758, open in v1.5.1).
// Its goroutines can't be given a recover from outside. The guard therefore
// checks type, length and shape of every packet first and ends the connection
// on the first wrong one. What remains is a bug in paho that a well-formed
// packet triggers; none is known.
package source
