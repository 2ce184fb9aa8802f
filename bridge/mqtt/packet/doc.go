// Package packet says what an MQTT packet looks like as bytes, for MQTT 3.1.1
// and 5.0, in both directions.
//
//	byte 1      type << 4 | flags
//	byte 2..5   remaining length: a varint, at most four bytes, never longer than needed
//	...         variable header (5.0: with properties), then payload
//
// A [Reader] cuts a byte stream into packets and holds the limits; one Decode
// method per packet checks every rule a receiver has to check and gives the
// fields as slices of the Reader's buffer, so reading a PUBLISH allocates
// nothing. One AppendTo method per packet writes it.
//
// Nothing here trusts its input. A packet that is cut short, too long or
// against a rule is an [*Error], which carries the MQTT 5 reason code that the
// other side should be told. Memory grows with the bytes that came, never with
// the length that was announced.
package packet
