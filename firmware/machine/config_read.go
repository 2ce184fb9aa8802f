package machine

import (
	"fmt"
	"net/netip"
	"strings"
)

// reader takes a table's values and notes what is wrong with them.
type reader struct {
	values   map[string]any
	problems []*Problem
}

func (r *reader) fail(key, hint, problem string, args ...any) {
	r.problems = append(r.problems, &Problem{Key: key, Problem: fmt.Sprintf(problem, args...), Hint: hint})
}

// text takes a string; "" is the default of each.
func (r *reader) text(key string) string {
	v, there := r.values[key]
	s, ok := v.(string)
	if there && !ok {
		r.fail(key, "", "must be a string")
	}
	return strings.TrimSpace(s)
}

func (r *reader) texts(key string, most int) []string {
	v, there := r.values[key]
	if !there {
		return nil
	}
	list, ok := v.([]any)
	if !ok || len(list) > most {
		r.fail(key, "", "must be an array of at most %d strings", most)
		return nil
	}
	var words []string
	for _, e := range list {
		s, ok := e.(string)
		if !ok || strings.TrimSpace(s) == "" {
			r.fail(key, "", "has an entry that is no string with something in it")
			return nil
		}
		words = append(words, strings.TrimSpace(s))
	}
	return words
}

func (r *reader) hostname() string {
	name := r.text("hostname")
	if name == "" || IsHostname(name) {
		return name
	}
	r.fail("hostname", "leave it out to have one made from the board's serial number",
		"is %.80q; must be 1 to %d letters, digits and hyphens, no hyphen first or last", name, hostnameBytesMax)
	return ""
}

func (r *reader) interfaceName() string {
	name := r.text("interface")
	if len(name) > interfaceMax || strings.ContainsAny(name, "/: \t\n") || name == "." || name == ".." {
		r.fail("interface", "leave it out for the first wired one", "is %.80q; must be a name like \"eth0\"", name)
		return ""
	}
	return name
}

func (r *reader) address() netip.Prefix {
	text := r.text("address")
	if text == "" || strings.EqualFold(text, DHCP) {
		return netip.Prefix{}
	}
	hint := `say "dhcp", or the address with its network's length: "10.0.0.5/24"`
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		r.fail("address", hint, "is %.80q, which is no address with a length", text)
	case !p.Addr().Is4():
		r.fail("address", hint, "is %s; must be an IPv4 address", p)
	case p.Bits() < 8 || p.Addr().IsLoopback() || p.Addr().IsMulticast() || p.Addr().IsUnspecified():
		r.fail("address", hint, "is %s, which no machine can have", p)
	case p.Bits() < 31 && (p.Addr() == p.Masked().Addr() || p.Addr() == last(p)):
		r.fail("address", hint, "is %s, which names the whole network or all that are in it", p)
	default:
		return p
	}
	return netip.Prefix{}
}

// last is the broadcast address of a network.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

func (r *reader) router(network netip.Prefix) netip.Addr {
	text := r.text("router")
	if text == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil || !a.Is4():
		r.fail("router", "", "is %.80q; must be an IPv4 address like \"10.0.0.1\"", text)
	case !network.IsValid():
		r.fail("router", "remove it, or set address", "means something only with a fixed address; DHCP names its own")
	case !network.Contains(a) || a == network.Addr():
		r.fail("router", "", "is %s; must be another address of %s", a, network.Masked())
	default:
		return a
	}
	return netip.Addr{}
}

func (r *reader) nameServers() []netip.Addr {
	var servers []netip.Addr
	for _, s := range r.texts("dns", nameServersMax) {
		a, err := netip.ParseAddr(s)
		if err != nil || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			r.fail("dns", "", "has %.80q; must be addresses like \"10.0.0.1\"", s)
			return nil
		}
		servers = append(servers, a)
	}
	return servers
}

func (r *reader) timeServers() []string {
	servers := r.texts("ntp", timeServersMax)
	for _, s := range servers {
		if !IsServer(s) {
			r.fail("ntp", "", "has %.80q; must be names or addresses like \"ntp.example.org\", \"10.0.0.1\"", s)
			return nil
		}
	}
	return servers
}

// IsServer says whether s is an address or could be a name in DNS.
func IsServer(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return !a.IsUnspecified() && !a.IsMulticast()
	}
	if len(s) == 0 || len(s) > serverBytesMax {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if !IsHostname(label) {
			return false
		}
	}
	return true
}

// IsHostname says whether s can be a machine's name, or stand between the dots of one.
func IsHostname(s string) bool {
	if s == "" || len(s) > hostnameBytesMax || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}
