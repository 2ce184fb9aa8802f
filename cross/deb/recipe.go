package main

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"cistern/agent/config"
)

// file is one that goes into the package.
type file struct {
	Src, Dst string
	Mode     string // octal
	Type     string // "" is a plain file; config: an administrator's change stays
}

// files lists all, in the order of the package's folders.
func (b *build) files(a arch) ([]file, error) {
	sample := filepath.Join(b.work, "sample.toml")
	if err := os.WriteFile(sample, []byte(config.Sample), 0o644); err != nil {
		return nil, err
	}
	all := []file{
		{b.program(a), "/usr/bin/cistern", "0755", ""},
		{b.given("cistern.toml"), "/etc/cistern/cistern.toml", "0644", "config|noreplace"},
		// Not /usr/lib: the systemd tools of Debian 11 look here.
		{b.given("cistern.service"), "/lib/systemd/system/cistern.service", "0644", ""},
		{b.given("sysusers.conf"), "/usr/lib/sysusers.d/cistern.conf", "0644", ""},
		{b.docsFolder() + "/bash/cistern", "/usr/share/bash-completion/completions/cistern", "0644", ""},
		{b.docsFolder() + "/fish/cistern.fish", "/usr/share/fish/vendor_completions.d/cistern.fish", "0644", ""},
		{b.docsFolder() + "/zsh/_cistern", "/usr/share/zsh/vendor-completions/_cistern", "0644", ""},
		{b.given("copyright"), "/usr/share/doc/cistern/copyright", "0644", ""},
		{b.licencesFile(a), "/usr/share/doc/cistern/licences.txt", "0644", ""},
		{filepath.Join(b.source.Root, "CHANGELOG.md"), "/usr/share/doc/cistern/CHANGELOG.md", "0644", ""},
		{sample, "/usr/share/doc/cistern/examples/cistern.toml", "0644", ""},
		{b.given("gpio.conf"), "/usr/share/doc/cistern/examples/gpio.conf", "0644", ""},
	}
	for _, section := range []string{"man1", "man5"} {
		pages, err := filepath.Glob(filepath.Join(b.docsFolder(), section, "*.gz"))
		if err != nil {
			return nil, err
		}
		for _, p := range pages {
			all = append(all, file{p, "/usr/share/man/" + section + "/" + filepath.Base(p), "0644", ""})
		}
	}
	return all, nil
}

// recipe is what nfpm reads. xz, since the dpkg of Debian 11 and of the Raspberry
// Pi OS made from it knows no zstd.
var recipe = template.Must(template.New("nfpm").Parse(`name: cistern
arch: {{.Arch}}
platform: linux
version: {{printf "%q" .Version}}
version_schema: none
section: net
priority: optional
maintainer: The Cistern authors <cistern@localhost>
license: Apache-2.0
mtime: {{.Time}}
description: |
  Keeps MQTT messages on flash until they are at the centre
  Devices publish over MQTT, each message is confirmed when it is on flash, and
  everything reaches a central Kafka, NATS or MQTT cluster, however long the uplink
  was away.
depends: [systemd]
scripts:
  postinstall: {{.Scripts}}/postinst
  preremove: {{.Scripts}}/prerm
  postremove: {{.Scripts}}/postrm
deb:
  compression: xz
contents:
- {dst: /etc/cistern, type: dir, file_info: {mode: 0750, mtime: {{.Time}}}}
{{- range .Files}}
- {src: {{printf "%q" .Src}}, dst: {{printf "%q" .Dst}}, {{with .Type}}type: {{printf "%q" .}}, {{end}}file_info: {mode: {{.Mode}}, mtime: {{$.Time}}}}
{{- end}}
`))

func (b *build) recipe(a arch) ([]byte, error) {
	files, err := b.files(a)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = recipe.Execute(&out, map[string]any{
		"Arch": a.name, "Version": b.version, "Files": files, "Scripts": b.given(""),
		"Time": time.Unix(b.source.Seconds, 0).UTC().Format(time.RFC3339),
	})
	return out.Bytes(), err
}

// compressPages packs the manual pages, as Debian wants them.
func (b *build) compressPages() error {
	return filepath.WalkDir(b.docsFolder(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(filepath.Dir(path))[:3] != "man" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			return err
		}
		if _, err := z.Write(text); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		if err := os.WriteFile(path+".gz", packed.Bytes(), 0o644); err != nil {
			return err
		}
		return os.Remove(path)
	})
}
