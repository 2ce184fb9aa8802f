// Package build holds what must stay true of the tree as a whole: imports go
// one way, every package says what it is, the agent carries nothing heavy and
// no cgo, and it builds for every gateway we support at a known size.
//
// It has tests only. Those that compile for other targets take a minute and
// carry the build tag "targets"; .ci/run runs them.
package build
