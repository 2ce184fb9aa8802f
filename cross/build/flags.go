package build

import (
	_ "embed"
	"strings"
)

// Agent is the import path of what ships.
const Agent = module + "/agent/cistern"

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
