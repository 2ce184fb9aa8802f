package load

import (
	"encoding/json"
	"testing"
)

func TestRecordsAreJSONOfTheSizeAskedFor(t *testing.T) {
	for _, size := range []int{128, 256, 1024} {
		seen := make(map[string]bool)
		for _, r := range Records(3, 50, size) {
			if len(r) != size || !json.Valid(r) {
				t.Fatalf("%d bytes instead of %d, or no JSON: %s", len(r), size, r)
			}
			if seen[string(r)] {
				t.Fatalf("came twice: %s", r)
			}
			seen[string(r)] = true
		}
	}
}
