package metadata

import "strings"

// ReservedPrefix begins the names of streams that a gateway keeps for itself.
// Nobody declares them, no route leads to them, and they are never drained.
const ReservedPrefix = "cistern."

const parkedPrefix = ReservedPrefix + "parked."

// DeclaredNameMax leaves room for what ParkedStream puts in front.
const DeclaredNameMax = StreamNameMax - len(parkedPrefix)

// ParkedStream names the stream of this gateway in which batches of another
// wait for their leader, partition by partition.
func ParkedStream(stream string) string { return parkedPrefix + stream }

// Parked returns the stream whose batches wait in the stream of that name.
func Parked(name string) (stream string, ok bool) { return strings.CutPrefix(name, parkedPrefix) }
