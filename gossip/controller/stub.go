package controller

import (
	"time"

	"cistern/gossip/metadata"
)

func Apply(img *metadata.Image, index uint64, c metadata.Change) (*metadata.Image, metadata.Result) {
	panic("soon")
}
func Check(img *metadata.Image) error               { panic("soon") }
func CheckStep(before, after *metadata.Image) error { panic("soon") }

// Liveness is what gossip says of one member.
type Liveness struct {
	Name  string
	Alive bool
	For   time.Duration // how long it has been so
	// Unregistered is how long it has been alive in a life that is not the
	// registered one; 0 when it is.
	Unregistered time.Duration
}

type Policy struct {
	FenceAfter, RegisterWithin, ReplaceAfter, RebalanceAfter time.Duration
	MovesMax, LeadersMax, ChangesMax                         int
}

func DefaultPolicy() Policy { panic("soon") }

func Decide(now time.Time, img *metadata.Image, live []Liveness, p Policy) []metadata.Change {
	panic("soon")
}
func Replicas(c metadata.StreamConfig, live int) int      { panic("soon") }
func MinInsync(c metadata.StreamConfig, replicas int) int { panic("soon") }
func Place(members []metadata.Member, id metadata.PartitionID, n int) []metadata.NodeID {
	panic("soon")
}
