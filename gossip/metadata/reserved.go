package metadata

import "strings"

// ReservedPrefix begins the names of streams that gateways keep for themselves,
// such as what waits for a partition's leader. They are of one gateway, never
// replicated, and no configuration may name one.
const ReservedPrefix = "cistern."

// reservedRoom is how much longer than a stream's name the name of a reserved
// stream that belongs to it may be.
const reservedRoom = 32

// IsReserved reports whether name is a gateway's own.
func IsReserved(name string) bool { return strings.HasPrefix(name, ReservedPrefix) }
