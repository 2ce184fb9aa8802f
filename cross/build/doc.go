// Package build holds what must stay true of the tree as a whole: imports go
// one way, every package says what it is, the agent carries nothing heavy and
// no cgo, and it builds for every gateway we support at a known size.
//
// It has tests, the one list of flags the agent is built with, and what the tools
// that make packages and releases have in common. Tests that compile for other
// targets take a minute and carry the build tag "targets"; .ci/run runs them.
//
// # What was weighed for the size
//
// On linux/arm, of a binary of 16 MB: net/rpc, with html/template and
// encoding/gob, which hashicorp/go-msgpack brings for an RPC nobody here speaks,
// is 0.33 MB, measured by taking it out; by the size of their symbols the rest of
// go-msgpack is about 0.25, and miekg/dns, which registers every kind of DNS
// record there is, about 0.4. raft, memberlist and mdns import them, so each
// could only go by a replace directive and a copy of our own to keep up.
// Compiling cold code without inlining (agent.flags) gave 1.1 MB for a list of
// package names. Method elimination by the linker is on: nothing that is reached
// looks methods up by name (go build -ldflags=-dumpdep shows no <ReflectMethod>).
package build
