package natssink

import (
	"testing"

	"cistern/bridge/drain/sinktest"
)

func TestMain(m *testing.M) { sinktest.Main(m) }
