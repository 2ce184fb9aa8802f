// Package agent is one gateway as one process: it opens what config asks for,
// wires the parts to each other, watches over them, and stops them in order.
// Nothing is decided here that another room could decide.
//
// Parts start from right to left along the imports and stop from left to right:
//
//	start   journal ▶ ingest ▶ drain ▶ external brokers ▶ MQTT server ▶ status
//	stop    status ▶ MQTT server ▶ external brokers ▶ drain ▶ ingest ▶ journal
//
// so that nothing ever calls a part that is not there: the MQTT server stops
// taking messages and waits for the confirmations that are due while the
// journal still commits; the drain waits for answers that are due and saves its
// cursors while there is a journal to save them in.
//
// # Goroutines
//
// Run keeps to its caller's goroutine and starts one per part (crew), each of
// which ends when its context does. A part that ends by itself is a failure: it
// stops all others, and Run returns its error. Watching (watch.go) is a part as
// well.
package agent
