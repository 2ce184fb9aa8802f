// Package kafka runs a real Apache Kafka broker: one KRaft node of plain Java,
// its jars fetched by Maven, its data in a folder, its ports on loopback.
//
// It is 3.9.1: the last line that also speaks the oldest versions of the
// protocol and the transactions of before KIP-890, so the one that differs most
// from the stand-in of cross/central, and it runs on the Java 17 of Debian.
//
// The command in broker starts one for people (make kafka) or around another
// command (make test-kafka). Tests with the build tag kafka start their own,
// where they have to kill it or to set it up otherwise.
package kafka
