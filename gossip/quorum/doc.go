// Package quorum answers one question: how do gateways agree on a Change?
//
//	Propose ──▶ raft leader ──▶ raft log on a majority's flash ──▶ controller.Apply,
//	   │            ▲                                                on every gateway
//	   └─ forwarded ┘                                                      │
//	      (cistern-quorum)                        Image, Watch ◀───────────┘
//
// Every gateway of a site has a [Quorum]: up to five vote, the others follow. Each
// applies the same changes in the same order and so has the same [metadata.Image],
// some moments apart. [Quorum.Propose] works at any of them. Its error says
// exactly what is known: the change was not made, or its fate is unknown.
//
// A [Keeper] beside it lets gateways that see each other form a site, takes in
// who comes later, and on the raft leader proposes what controller.Decide says.
//
// What is durable stands in one bbolt file, raft.db: log, term and vote,
// snapshots of the image, each with a checksum, all read once at [Open]. An idle
// site writes nothing. For a site that lost its majority for good there are
// [Inspect], [Recover] and [Forget]; the gateway must not be running then.
//
// Goroutines, besides raft's own: one that passes on raft's requests, one that
// serves others' proposals and one per connection of it, one that tells
// followers what is committed, the keeper's two. All end with Run.
//
// DESIGN.md has the decisions and their price.
package quorum
