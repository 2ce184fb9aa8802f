//go:build race

package quorum

// underRace: hashicorp/raft 1.8.0 reads a peer's address in updateLastAppended
// without the lock under which startStopReplication changes it.
const underRace = true
