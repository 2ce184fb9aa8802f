package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"cistern/firmware/licence"
)

// The part of CycloneDX 1.5 that a Go binary has something to say to.
type (
	document struct {
		Format       string       `json:"bomFormat"`
		SpecVersion  string       `json:"specVersion"`
		SerialNumber string       `json:"serialNumber"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Type       string       `json:"type"`
		Ref        string       `json:"bom-ref"`
		Name       string       `json:"name"`
		Version    string       `json:"version"`
		Hashes     []hash       `json:"hashes,omitempty"`
		Licences   []expression `json:"licenses"`
		PURL       string       `json:"purl,omitempty"`
		Properties []property   `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	expression struct {
		Expression string `json:"expression"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn,omitempty"`
	}
)

// cycloneDX writes the bill so that two runs write the same: its number is made
// from the binary, its time is the commit's. A module's hash is go.sum's, a
// SHA-256 over the list of its files' SHA-256, as other tools for Go put it.
func (b *bill) cycloneDX() document {
	self := component{
		Type: "application", Ref: b.name, Name: "cistern", Version: b.version,
		Hashes:     []hash{{"SHA-256", fmt.Sprintf("%x", b.sum)}},
		Licences:   []expression{{b.terms.ID}},
		Properties: []property{{"cistern:commit", b.commit}, {"cistern:target", b.target}},
	}
	d := document{
		Format: "CycloneDX", SpecVersion: "1.5", SerialNumber: "urn:uuid:" + uuid(b.sum[:]), Version: 1,
		Metadata: metadata{time.Unix(b.seconds, 0).UTC().Format(time.RFC3339), self},
	}
	all := dependency{Ref: b.name}
	for _, p := range b.parts {
		c := component{Type: "library", Ref: purl(p), Name: p.Path, Version: p.Version, PURL: purl(p), Licences: []expression{{p.Terms.ID}}}
		if p.Sum != "" {
			c.Hashes = []hash{{"SHA-256", p.Sum}}
		}
		d.Components = append(d.Components, c)
		all.DependsOn = append(all.DependsOn, c.Ref)
	}
	d.Dependencies = []dependency{all}
	return d
}

func purl(p licence.Part) string {
	return "pkg:golang/" + p.Path + "@" + strings.ReplaceAll(url.PathEscape(p.Version), "+", "%2B")
}

// uuid makes a UUID of version 8 (RFC 9562: the maker's own) from a hash.
func uuid(sum []byte) string {
	u := [16]byte(sum[:16])
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
