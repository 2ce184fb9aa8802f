package kafkasink

import (
	"testing"

	"cistern/bridge/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
