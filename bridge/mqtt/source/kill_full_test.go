//go:build e2e

package source

import "testing"

func TestKillFull(t *testing.T) { killTest(t, 10_000, 30) }
