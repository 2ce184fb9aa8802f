package build

import (
	_ "embed"
	"strings"
)

// Agent is the import path of what ships.
const Agent = module + "/agent/cistern"

// ARMBytesMax is the promise for 32-bit ARM, where flash is smallest.
const ARMBytesMax = 16_000_000

const module = "cistern"

//go:embed agent.flags
var agentFlags string

// Flags returns the flags of `go build` for the agent that ships, but for
// -ldflags, which say which version it is.
func Flags() []string {
	var flags []string
	for line := range strings.Lines(agentFlags) {
		if strings.HasPrefix(line, "-") {
			flags = append(flags, strings.TrimSpace(line))
		}
	}
	return flags
}

// Linked returns what -ldflags say: no tables for debuggers, and which version
// and commit this is; an empty commit is one that nobody knows.
func Linked(version, commit string) string {
	return "-s -w -X main.version=" + version + " -X main.commit=" + commit
}
