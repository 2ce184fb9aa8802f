package main

import (
	"encoding/json"
	"strings"
	"testing"

	"cistern/firmware/licence"
)

func TestCycloneDX(t *testing.T) {
	b := bill{name: "cistern_1_x", version: "1", commit: "c0ffee", target: "x", terms: licence.Terms{ID: "Apache-2.0"}, seconds: 1700000000,
		parts: []licence.Part{{Path: "a.org/a", Version: "v1.0.0", Sum: strings.Repeat("ab", 32), Terms: licence.Terms{ID: "MIT"}}, {Path: "std", Version: "1.26.0", Terms: licence.Terms{ID: "BSD-3-Clause"}}}}
	first, err := json.Marshal(b.cycloneDX())
	if err != nil {
		t.Fatal(err)
	}
	if second, err := json.Marshal(b.cycloneDX()); err != nil || string(second) != string(first) {
		t.Error("two runs over the same differ")
	}
	for _, want := range []string{
		`"bomFormat":"CycloneDX","specVersion":"1.5","serialNumber":"urn:uuid:00000000-0000-8000-8000-000000000000"`,
		`"timestamp":"2023-11-14T22:13:20Z"`,
		`"purl":"pkg:golang/a.org/a@v1.0.0"`,
		`"licenses":[{"expression":"MIT"}]`,
		`"dependsOn":["pkg:golang/a.org/a@v1.0.0","pkg:golang/std@1.26.0"]`,
	} {
		if !strings.Contains(string(first), want) {
			t.Errorf("%s is missing in\n%s", want, first)
		}
	}
	if strings.Count(string(first), `"hashes"`) != 2 { // the binary's and a.org/a's
		t.Errorf("%s", first)
	}
	if got := purl(licence.Part{Path: "b.org/b", Version: "v2.0.0+incompatible"}); got != "pkg:golang/b.org/b@v2.0.0%2Bincompatible" {
		t.Error(got)
	}
}
