// Package mqttsink drains to a central MQTT broker, by paho.mqtt.golang and MQTT
// 3.1.1: record by record, at least once, in order.
//
// # What arrives
//
// A record is published under its own topic again: its key, which a gateway fills
// with the topic by default, behind [Config.Prefix]. A key that can be no topic
// (none, empty, with + or # or a control character, too long or too deep, or one
// that begins with $) goes to prefix, stream, "/", partition instead. The payload
// is the value; no message is retained. Timestamp, headers and offset are left
// behind: MQTT 3.1.1 has no place for them.
//
// # At least once
//
// A record counts as drained when the broker has acknowledged it. What was not
// acknowledged when a connection ended, or a gateway was killed, is published
// again: at most [Config.Window] records of those of one batch, and after a crash
// what the saved cursor lags behind (64 batches). Nothing marks a repeat: 3.1.1
// has no headers, and DUP means something else. Consumers that mind put an id
// into the payload; those that can use Kafka or JetStream get it exactly once.
//
// Within a topic the first copies are in order, and a repeat is a run that begins
// anew: 1 2 3 | 2 3 4. That rests on one publishing goroutine per connection, on
// the broker's own order (MQTT-4.6.0-6), and on what follows.
//
// # Whose resend
//
// Ours, from the cursor. paho keeps no store here, starts no reconnect, and there
// is a client of its own for each connection, with CleanSession set and the same
// client id. paho's resend would be the other way, and is wrong twice: it sends
// what it has stored out of order (paho.mqtt.golang #731), and a copy of what
// already lies in our log on flash would have to be written again for it to
// survive a crash. A session at the broker would be of no use either: for a
// publisher it holds only the ids of QoS 2 messages in doubt, and a new message
// that happens to get such an id would be thrown away as a repeat. So "persistent"
// is the log and the cursor; the broker keeps nothing of us.
//
// QoS 2 is possible and buys nothing: it protects one connection's exchange, not
// a message that has to be sent again over the next.
//
// # A message that the broker does not take
//
// MQTT 3.1.1 knows no refusal, only a closed connection. After one that ended
// with messages under way, they are sent one at a time and each alone on the
// connection. A message on which the broker closes the connection [PoisonStrikes]
// times in a row, over [PoisonTime] at least, each time alone and without an
// answer, while connecting works every time, is taken for refused: its batch goes
// back with the verdict Refused, and drain tries it once more alone before it is
// set aside. What else may be behind it: a broker that crashes on exactly this
// message, which is the same to us. Other partitions go on meanwhile, one message
// per round trip. A record that a broker acknowledges and throws away, as
// Mosquitto does with topics that its access list forbids, is lost and nobody can
// know.
//
// # Goroutines
//
//	lanes ─Send─▶ queue ─▶ publish loop ─▶ paho ─▶ guard ─▶ broker
//	      ◀─done─ flying ◀── ack loop  ◀── tokens ◀─ guard ◀─
//
// One connection with one publish loop and one ack loop serve all partitions.
// Never more than Window messages or [WindowBytesMax] bytes are unacknowledged,
// and paho gets the next one when the last has been written. The guard lets only
// the three packets through that a broker may send to a publisher, so that paho
// allocates nothing a broker announces.
package mqttsink
