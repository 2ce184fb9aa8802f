// Package e2e runs the built program against what a gateway meets: processes
// killed at any moment, an uplink that comes and goes, a device that fills up
// or turns read-only, and clients that others wrote.
//
// Every test ends with the same question, put to the central cluster: is each
// confirmed message there, once, in order, as it was sent?
//
// One short test runs with every `go test ./...`. The long ones carry the build
// tag "e2e" (make e2e, .ci/run). Those that need root, Mosquitto or kcat skip
// with the reason; .ci/run counts a skip as a failure.
package e2e
