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
// # The board
//
// Run is a gateway's life, which may be that of several agents in one process
// (board.go). It owns what outlives an agent: the board, the watchdogs, and
// whether there is power from outside. A line that tells of a power failure makes
// the agent stop at once (board_power.go): what came in is committed and answered,
// what it leads is handed over, the journal is closed, which marks the stop as a
// clean one, and the file system is synced; each part has a fraction of a second,
// and one that hangs is left behind. The button asks for a stop with all the time
// it needs (board_button.go). Then the process rests with nothing open, and begins
// anew when the power is back, or the button was held again; an image is switched
// off meanwhile. A stop that did not go well ends in a new process: whatever hung
// is not to be trusted in this one.
//
// Nothing of the board is ever a reason to fail: what does not work is a warning.
//
// # Goroutines
//
// Agent.Run keeps to its caller's goroutine, which Run starts for it, and starts
// one per part (crew), each of which ends when its context does. A part that ends
// by itself is a failure: it stops all others, and Agent.Run returns its error.
// Watching (watch.go) is a part as well.
package agent
