package machine

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// write makes a file in a folder of the test's own.
func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLoadTakesWhatTheGatewaysOwnFileSaysFirst(t *testing.T) {
	site := write(t, "cistern.toml", "[mqtt]\nlisten = \"0.0.0.0:1883\"\n[machine]\ndns = [\"10.0.0.1\", \"fd00::1\"]\nntp = [\"ntp.plant.example\"]\n")
	own := write(t, "gateway.toml", "[machine]\nhostname = \"press-7\"\naddress = \"10.0.0.5/24\"\nrouter = \"10.0.0.1\"\nntp = [\"10.0.0.2\"]\n")
	c, err := Load(site, own, filepath.Join(t.TempDir(), "absent.toml"))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Hostname: "press-7",
		Address:  netip.MustParsePrefix("10.0.0.5/24"),
		Router:   netip.MustParseAddr("10.0.0.1"),
		DNS:      []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")},
		NTP:      []string{"10.0.0.2"},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v\nwant %+v", c, want)
	}
	if !c.Static() || (&Config{}).Static() {
		t.Error("only a machine with an address of its own is static")
	}
}

func TestReadNamesWhatIsWrongAndKeepsTheRest(t *testing.T) {
	for _, c := range []struct{ text, key, says string }{
		{`hostname = "-x"`, "hostname", "letters, digits and hyphens"},
		{`hostname = "a.b"`, "hostname", "letters, digits and hyphens"},
		{`hostname = 7`, "hostname", "must be a string"},
		{`hostname = "` + strings.Repeat("x", 64) + `"`, "hostname", "1 to 63"},
		{`address = "10.0.0.5"`, "address", "no address with a length"},
		{`address = "10.0.0.0/24"`, "address", "the whole network"},
		{`address = "10.0.0.255/24"`, "address", "the whole network"},
		{`address = "10.0.0.127/25"`, "address", "the whole network"},
		{`address = "fd00::5/64"`, "address", "IPv4"},
		{`address = "127.0.0.1/8"`, "address", "no machine can have"},
		{`address = "224.0.0.1/24"`, "address", "no machine can have"},
		{`address = "0.0.0.0/0"`, "address", "no machine can have"},
		{`router = "10.0.0.1"`, "router", "only with a fixed address"},
		{"address = \"10.0.0.5/24\"\nrouter = \"10.0.1.1\"", "router", "another address of 10.0.0.0/24"},
		{"address = \"10.0.0.5/24\"\nrouter = \"10.0.0.5\"", "router", "another address of 10.0.0.0/24"},
		{"address = \"10.0.0.5/24\"\nrouter = \"gate\"", "router", "IPv4 address"},
		{`dns = "10.0.0.1"`, "dns", "must be an array"},
		{`dns = ["ns.example"]`, "dns", "must be addresses"},
		{`dns = ["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4"]`, "dns", "at most 3"},
		{`ntp = [""]`, "ntp", "no string with something in it"},
		{`ntp = ["a b"]`, "ntp", "must be names or addresses"},
		{`interface = "../x"`, "interface", "must be a name like"},
		{`interface = "averyveryverylongname"`, "interface", "must be a name like"},
		{`adress = "dhcp"`, "adress", "unknown key"},
	} {
		table, err := parse([]byte("[machine]\n" + c.text))
		if err != nil {
			t.Fatal(err)
		}
		_, problems := Read(table)
		if len(problems) != 1 || problems[0].Key != c.key || !strings.Contains(problems[0].Error(), c.says) {
			t.Errorf("%s: got %v, want one about %s that says %q", c.text, problems, c.key, c.says)
		}
	}

	got, err := Load(write(t, "gateway.toml", "[machine]\nhostname = \"ok\"\naddress = \"nonsense\"\n"))
	if err == nil || got.Hostname != "ok" || got.Static() {
		t.Errorf("got %+v, %v: a bad address must be said and leave the name as it is", got, err)
	}
}

func TestReadTakesWhatIsRight(t *testing.T) {
	for _, text := range []string{
		"", `address = "dhcp"`, `address = "DHCP"`, `address = ""`,
		`address = "10.0.0.4/31"`, `address = "10.0.0.5/32"`,
		"address = \"10.0.0.4/31\"\nrouter = \"10.0.0.5\"",
		`ntp = ["pool.ntp.org.", "fd00::1"]`, `interface = "enx001122334455"`,
	} {
		table, err := parse([]byte("[machine]\n" + text))
		if err != nil {
			t.Fatal(err)
		}
		if _, problems := Read(table); len(problems) > 0 {
			t.Errorf("%s: %v", text, problems)
		}
	}
}

// A card is prepared on any laptop, with any editor.
func TestLoadTakesALaptopsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gateway.toml")
	if err := os.WriteFile(file, []byte("\ufeff[machine]\r\nhostname = \"press-7\"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(file); err != nil || c.Hostname != "press-7" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestLoadSaysWhereAFileIsNoTOML(t *testing.T) {
	for text, says := range map[string]string{
		"[machine]\nhostname = press\n":      "line 2, column 12",
		"machine = 3\n":                      "must be a table",
		strings.Repeat("#", fileBytesMax+1):  "a configuration may have",
		"[machine]\nhostname = \"a\"\nx = [": "line 3",
	} {
		if _, err := Load(write(t, "gateway.toml", text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.40q: got %v, want %q", text, err, says)
		}
	}
}

// A card is written on any laptop by anybody: whatever is in the file, the
// machine comes up with values that can be used.
func FuzzRead(f *testing.F) {
	f.Add("[machine]\nhostname = \"a\"\naddress = \"10.0.0.5/24\"\nrouter = \"10.0.0.1\"\n")
	f.Add("[machine]\ndns = [\"1.1.1.1\", 2]\nntp = [\"x\"]\ninterface = \"eth0\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		table, err := parse([]byte(text))
		if err != nil {
			return
		}
		c, _ := Read(table)
		if c.Hostname != "" && !IsHostname(c.Hostname) {
			t.Errorf("hostname %q", c.Hostname)
		}
		if c.Router.IsValid() && !c.Address.Contains(c.Router) {
			t.Errorf("router %s is not of %s", c.Router, c.Address)
		}
		if len(c.DNS) > nameServersMax || len(c.NTP) > timeServersMax {
			t.Errorf("%d name and %d time servers", len(c.DNS), len(c.NTP))
		}
	})
}
