// Package controller answers two questions about a site: what does a change do
// to its metadata, and which changes are due?
//
//	gossip ──▶ Decide ──▶ quorum (raft) ──▶ Apply ──▶ Image, on every gateway
//	                        ▲
//	  gateways, operators ──┘
//
// [Apply] is run by every gateway for every change that the quorum has agreed
// on. It is a pure function, and its result is the same on every machine: no
// clock, no chance, no floating point, nothing that depends on the order of a
// map. It never panics; a change that can't be made is refused with a word
// from package metadata, and the refusal is the same everywhere too.
//
// [Decide] is run by the gateway that leads the quorum. It remembers nothing
// between calls: whatever it wants follows from the image and from who is
// alive, so a new leader goes on where the old one stopped. What it returns
// are proposals. Being wrong costs time, never records: each names the state it
// was made for, and Apply refuses it when that state is gone.
//
// [Check] and [CheckStep] say what always holds. See DESIGN.md for the
// decisions and their price.
package controller
