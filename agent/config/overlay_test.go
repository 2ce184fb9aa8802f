package config

import (
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cistern/gossip/metadata"
)

// both reads a file with an overlay from memory.
func both(file, overlay string) (Config, error) {
	doc := &document{file: "f"}
	c := read(doc, input{"f", []byte(file)}, input{"o", []byte(overlay)})
	return c, doc.err()
}

// Of one configuration for a whole site and a small file each gateway's own is
// made.
func TestOverlay(t *testing.T) {
	const site = `
gateway = { name = "nobody", site = "plant-7" }
[site]
key_file = "site.key"
join = ["10.0.0.5:7610", "10.0.0.6:7610"]
zone = "hall-1"
timing.suspicion_mult = 3
[[stream]]
name = "alarms"
[[mqtt.route]]
filter = "#"
stream = "alarms"
[uplink.kafka]
brokers = ["a:9092"]
`
	const own = `
gateway.name = "gateway-7"
storage = { max_bytes = "1GiB" }
[site]
zone = "hall-2"
join = ["10.0.0.9:7610"]
[site.timing]
probe_interval = "2s"
`
	const byHand = `
gateway = { name = "gateway-7", site = "plant-7" }
storage = { max_bytes = "1GiB" }
[site]
key_file = "site.key"
join = ["10.0.0.9:7610"]
zone = "hall-2"
timing.suspicion_mult = 3
timing.probe_interval = "2s"
[[stream]]
name = "alarms"
[[mqtt.route]]
filter = "#"
stream = "alarms"
[uplink.kafka]
brokers = ["a:9092"]
`
	got, err := both(site, own)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Parse("f", []byte(byHand))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

func TestOverlayErrors(t *testing.T) {
	for name, test := range map[string]struct{ file, overlay, want string }{
		"syntax":          {"", "[log]\nlevel = debug", "o:2:9: "},
		"unknown key":     {"[log]\nlevel = 'info'", "\n[log]\nlvel = 'info'", `o:3:1: log.lvel: unknown key (did you mean "level"?)`},
		"unknown section": {"", "[storge]\nmax_bytes = 0", `o:1:2: storge: unknown key (did you mean "storage"?)`},
		"wrong value":     {"log.level = 'info'", "log.level = 'INFO'", `o:1:5: log.level: is "INFO"; allowed are`},
		"still the file":  {"\nlog.format = 'x'", "log.level = 'info'", `f:2:5: log.format: is "x"; allowed are`},
		"streams":         {"[[stream]]\nname = 'a'", "[log]\n[[stream]]\nname = 'b'", `o:2:3: stream: an overlay changes single keys, and this is a list of tables (keep all of [[stream]] in f)`},
		"listeners":       {"", "[[mqtt.listener]]\naddress = '127.0.0.1:1'", `o:1:8: mqtt.listener: an overlay changes`},
		"routes":          {"", "mqtt = { route = [{ filter = '#' }] }", `o:1:10: mqtt.route: an overlay changes`},
		"sources":         {"", "[mqtt]\nsource = [{ url = 'mqtt://h:1' }]", `o:2:1: mqtt.source: an overlay changes`},
		"no streams":      {"[[stream]]\nname = 'a'", "stream = []", `o:1:1: stream: an overlay changes`},
		"one stream":      {"[[stream]]\nname = 'a'", "[stream]\nname = 'b'", `o:1:2: stream: an overlay changes`},
		"below a value":   {"log = 5", "log.level = 'info'", `o:1:1: log: is a table; in f it is the number 5`},
		"over a table":    {"log.level = 'info'", "log = 5", `o:1:1: log: is the number 5; must be a table: [log]`},
		"no key there":    {"", "[site]\nzone = 'z'", `o:1:2: site: a site needs a key`},
		"two ways":        {"[uplink.kafka]\nbrokers = ['a:1']", "[uplink.mqtt]\nurl = 'mqtt://h:1883'", `o:2:1: uplink.mqtt.url: a gateway has one way upstream, and there is also uplink.kafka.brokers in f:2`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := both(test.file, test.overlay)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("\n got %s\nwant %s", err, test.want)
			}
		})
	}
}

// Errors of both files come at once, the first file's first.
func TestOverlayErrorsInOrder(t *testing.T) {
	_, err := both("\n\n[log]\nlevel = 1", "log.format = 1\n[storage]\nmax_byte = 1")
	var all Errors
	if !errors.As(err, &all) {
		t.Fatal(err)
	}
	var files []string
	for _, e := range all {
		files = append(files, e.File)
	}
	if want := []string{"f", "o", "o"}; !slices.Equal(files, want) {
		t.Errorf("errors of %v, want %v: %v", files, want, err)
	}
	if _, err := both("[log", "[site"); !errors.As(err, &all) || len(all) != 2 {
		t.Errorf("two files that are no TOML: %v", err)
	}
}

// Paths start at the folder of the file that names them.
func TestOverlayPaths(t *testing.T) {
	site, own := t.TempDir(), t.TempDir()
	file, overlay := filepath.Join(site, "cistern.toml"), filepath.Join(own, "gateway.toml")
	write(t, file, withUsers+"[site]\nkey_file = 'k'\n", 0o644)
	write(t, filepath.Join(site, "users"), "", 0o600)
	write(t, overlay, "[site]\nkey_file = 'k'\n", 0o644)
	if _, err := Load(file, overlay); err == nil || !strings.Contains(err.Error(), overlay+":2:1: site.key_file: can't be read") {
		t.Errorf("a missing file of the overlay: %v", err)
	}
	write(t, filepath.Join(own, "k"), "", 0o600)
	c, err := Load(file, overlay)
	if err != nil {
		t.Fatal(err)
	}
	if c.Site.KeyFile != filepath.Join(own, "k") || c.MQTT.PasswordFile != filepath.Join(site, "users") || c.Gateway.Data != filepath.Join(site, "d") {
		t.Errorf("%q %q %q", c.Site.KeyFile, c.MQTT.PasswordFile, c.Gateway.Data)
	}
	if _, err := Load(file, filepath.Join(own, "none.toml")); err == nil || !strings.Contains(err.Error(), "none.toml") {
		t.Errorf("an overlay that is not there: %v", err)
	}
	if c, err := Load("", ""); err != nil || !reflect.DeepEqual(c, Default()) {
		t.Errorf("no file: %v", err)
	}
	// On its own it is a configuration like any other.
	write(t, overlay, "log.level = 'warn'\n[[stream]]\nname = 'a'\n", 0o644)
	if c, err := Load("", overlay); err != nil || c.Log.Level != "warn" || c.Streams[0].Name != "a" || c.Gateway.Data != filepath.Join(own, dataDefault) {
		t.Errorf("an overlay alone: %+v, %v", c, err)
	}
}

func FuzzOverlay(f *testing.F) {
	f.Add(Sample, "[site]\nzone = 'z'")
	f.Add("a = 1\n[[b]]\nc = 1", "a = {b = [{c = 1}]}\nb = []\n[b.c]")
	f.Fuzz(func(t *testing.T, file, overlay string) {
		c, err := both(file, overlay)
		if err != nil {
			return
		}
		for _, s := range c.Streams {
			if s.Name != metadata.DefaultStream && !strings.Contains(file, s.Name) && !strings.Contains(file, `\`) {
				t.Fatalf("stream %q is not from the file", s.Name)
			}
		}
	})
}
