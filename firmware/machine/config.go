package machine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Table is the name of the configuration's table that this package reads.
const Table = "machine"

// DHCP is the address of a machine that is given one by its network.
const DHCP = "dhcp"

// Limits of what a configuration may ask for.
const (
	fileBytesMax     = 1 << 20
	nameServersMax   = 3   // as many as a resolver asks
	timeServersMax   = 4   // as many as are asked
	hostnameBytesMax = 63  // of a label in DNS, and of HOST_NAME_MAX on Linux
	serverBytesMax   = 253 // of a name in DNS
	interfaceMax     = 15  // IFNAMSIZ without its zero
)

// Config is how the machine takes its place in the network. The zero value is
// DHCP on the first wired interface, under a name made from the board's serial.
type Config struct {
	Hostname  string       // "": from the board's serial number
	Address   netip.Prefix // not valid: DHCP
	Router    netip.Addr   // only with Address; not valid: no way out of its own network
	DNS       []netip.Addr // empty: DHCP's
	NTP       []string     // names or addresses; empty: DHCP's, else pool.ntp.org
	Interface string       // "": the first wired one
}

// Static says whether the address is a fixed one.
func (c *Config) Static() bool { return c.Address.IsValid() }

// Problem is one thing in the [machine] table that can't be.
type Problem struct {
	Key     string // without the table's name
	Problem string // what is wrong, and what is allowed
	Hint    string // what to do; may be empty
}

// Error says where, what and what to do in one line.
func (p *Problem) Error() string {
	s := Table + "." + p.Key + ": " + p.Problem
	if p.Key == "" {
		s = Table + ": " + p.Problem
	}
	if p.Hint != "" {
		s += " (" + p.Hint + ")"
	}
	return s
}

// Keys returns the keys that the table may hold.
func Keys() []string {
	return []string{"hostname", "address", "router", "dns", "ntp", "interface"}
}

// Read takes the [machine] table as a TOML parser leaves it: strings and arrays
// of any. A key that is wrong keeps its default, so that a machine with one bad
// line still comes up with the rest of them.
func Read(values map[string]any) (Config, []*Problem) {
	r := reader{values: values}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(Keys(), key) {
			r.fail(key, "known here: "+strings.Join(Keys(), ", "), "unknown key")
		}
	}
	c := Config{Hostname: r.hostname(), Interface: r.interfaceName(), NTP: r.timeServers()}
	c.Address = r.address()
	c.Router = r.router(c.Address)
	c.DNS = r.nameServers()
	return c, r.problems
}

// Load reads the [machine] tables of configuration files; what stands in a later
// file goes before what stands in an earlier one, key by key. A file that is not
// there says nothing. What could be read is returned with the error.
func Load(files ...string) (Config, error) {
	values := map[string]any{}
	var failed []error
	for _, file := range files {
		table, err := load(file)
		if err != nil {
			failed = append(failed, err)
		}
		maps.Copy(values, table)
	}
	c, problems := Read(values)
	for _, p := range problems {
		failed = append(failed, p)
	}
	return c, errors.Join(failed...)
}

func load(file string) (map[string]any, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > fileBytesMax {
		return nil, fmt.Errorf("%s has %d bytes; a configuration may have %d", file, info.Size(), fileBytesMax)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	table, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return table, nil
}

// parse finds the [machine] table in a configuration.
func parse(text []byte) (map[string]any, error) {
	values := map[string]any{}
	if err := toml.Unmarshal(bytes.TrimPrefix(text, []byte("\ufeff")), &values); err != nil { // as some editors begin a file
		var decode *toml.DecodeError
		if errors.As(err, &decode) {
			line, column := decode.Position()
			return nil, fmt.Errorf("line %d, column %d: %s", line, column, strings.TrimPrefix(err.Error(), "toml: "))
		}
		return nil, err
	}
	v, there := values[Table]
	table, isTable := v.(map[string]any)
	if there && !isTable {
		return nil, &Problem{Problem: "must be a table: [machine]"}
	}
	return table, nil
}
