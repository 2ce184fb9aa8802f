package gossip

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/mdns"
	"github.com/vmihailenco/msgpack/v5"

	"cistern/gossip/metadata"
	"cistern/gossip/sitekey"
)

func fullMeta() Meta {
	return Meta{Address: "10.0.0.1:9094", Zone: "north", Version: "v1.2.3", Formed: "0123456789abcdef", Expect: 3,
		Incarnation: 1 << 60, Uplink: "up", FlashFree: 1 << 40, FlashLatched: true, Voter: true}
}

func TestMetaTravels(t *testing.T) {
	for _, m := range []Meta{{}, fullMeta()} {
		b, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if got := decodeMeta(b); got != m {
			t.Errorf("%+v became %+v", m, got)
		}
	}
	later, err := msgpack.Marshal(map[string]any{"a": "here:1", "new": []any{1, map[string]int{"x": 2}}, "vo": true})
	if err != nil {
		t.Fatal(err)
	}
	if got := decodeMeta(later); got != (Meta{Address: "here:1", Voter: true}) {
		t.Errorf("a later version's became %+v", got)
	}
	// Whatever is told, there is room to say goodbye.
	m := Meta{}
	for n := MetaBytesMax; ; n-- {
		m.Zone = strings.Repeat("z", n)
		if _, err := m.encode(); err == nil {
			break
		}
	}
	m.Leaving = true
	if b, err := m.encode(); err != nil || len(b) != MetaBytesMax {
		t.Errorf("%d bytes with the goodbye: %v", len(b), err)
	}
}

func FuzzMeta(f *testing.F) {
	for _, m := range []Meta{{}, fullMeta()} {
		b, err := m.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0x81, 0xa1, 'a', 0xdb, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0xdf, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) { decodeMeta(b) })
}

func TestWorthTelling(t *testing.T) {
	a := fullMeta()
	change := func(f func(*Meta)) bool { b := a; f(&b); return worthTelling(a, b) }
	if change(func(*Meta) {}) || change(func(m *Meta) { m.FlashFree -= m.FlashFree / 100 }) {
		t.Error("hardly anything changed, and it is told")
	}
	if !change(func(m *Meta) { m.FlashFree /= 2 }) || !change(func(m *Meta) { m.FlashFree *= 2 }) ||
		!change(func(m *Meta) { m.FlashFree--; m.Uplink = "down" }) || !change(func(m *Meta) { m.FlashFree = 0 }) {
		t.Error("a change is not told")
	}
	a.FlashFree = 0
	if !change(func(m *Meta) { m.FlashFree = 1 }) {
		t.Error("the first figure is not told")
	}
}

func stateOf(t *testing.T, r *roster, name string) State {
	t.Helper()
	m, ok := r.get(name)
	if !ok {
		t.Fatalf("%s is not in the roster", name)
	}
	return m.State
}

func TestRosterStates(t *testing.T) {
	r := newRoster(Member{Name: "a", State: Alive})
	changed, stop := r.watch()
	steps := []struct {
		what  string
		do    func()
		want  State
		quiet bool
	}{
		{"joins", func() { r.alive("b", "addr", Meta{}) }, Alive, false},
		{"answers", func() { r.reached("b", true) }, Alive, true},
		{"does not answer", func() { r.reached("b", false) }, Suspect, false},
		{"does not answer again", func() { r.reached("b", false) }, Suspect, true},
		{"answers", func() { r.reached("b", true) }, Alive, false},
		{"dies", func() { r.gone("b") }, Dead, false},
		{"answers when dead", func() { r.reached("b", true) }, Dead, true},
		{"is silent when dead", func() { r.reached("b", false) }, Dead, true},
		{"comes back", func() { r.alive("b", "addr2", Meta{Leaving: true}) }, Alive, false},
		{"leaves", func() { r.gone("b") }, Left, false},
	}
	for _, s := range steps {
		before, _ := r.get("b")
		s.do()
		if got := stateOf(t, r, "b"); got != s.want {
			t.Fatalf("%s: %v, want %v", s.what, got, s.want)
		}
		if after, _ := r.get("b"); before.Name != "" && (after.Since == before.Since) != (after.State == before.State) {
			t.Errorf("%s: since %v, before %v", s.what, after.Since, before.Since)
		}
		select {
		case <-changed:
			if s.quiet {
				t.Errorf("%s: watchers are woken for nothing", s.what)
			}
		default:
			if !s.quiet {
				t.Errorf("%s: watchers are not woken", s.what)
			}
		}
	}
	stop()
	r.alive("c", "addr", Meta{})
	if len(changed) != 0 {
		t.Error("woken after the end")
	}
	r.reached("a", false)
	r.reached("nobody", false)
	r.gone("nobody")
	if stateOf(t, r, "a") != Alive || len(r.list()) != 3 {
		t.Errorf("%+v", r.list())
	}
}

func TestRosterIsBounded(t *testing.T) {
	r := newRoster(Member{Name: "self", State: Alive})
	for i := range metadata.MembersMax - 1 {
		name := fmt.Sprint("m", i)
		if err := r.admits(name); err != nil {
			t.Fatal(err)
		}
		r.alive(name, "addr", Meta{})
	}
	if err := r.admits("one more"); err == nil {
		t.Error("any number of gateways is let in")
	}
	if err := r.admits("m0"); err != nil {
		t.Errorf("one that is in: %v", err)
	}
	for i := range 3 * goneMax {
		name := fmt.Sprint("g", i)
		r.alive(name, "addr", Meta{})
		r.gone(name)
	}
	if n := len(r.list()); n != metadata.MembersMax+goneMax {
		t.Errorf("%d are remembered", n)
	}
	if _, ok := r.get("g0"); ok {
		t.Error("the oldest is remembered")
	}
	if stateOf(t, r, fmt.Sprint("g", 3*goneMax-1)) != Dead {
		t.Error("the latest is forgotten")
	}
	for i := range 100 {
		r.clash("m0", "addr", fmt.Sprint("other", i))
	}
	if n := len(r.clashes()); n != conflictsMax {
		t.Errorf("%d clashes are remembered", n)
	}
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1": "10.0.0.1:7946", "10.0.0.1:5": "10.0.0.1:5", ":5": "0.0.0.0:5", "": "0.0.0.0:7946",
		"[::1]:5": "[::1]:5", "::1": "[::1]:7946", "[::1]": "[::1]:7946", "[::]:0": "[::]:0",
	} {
		if got, err := bindAddr(in); err != nil || got.String() != want {
			t.Errorf("%q: %v (%v), want %s", in, got, err, want)
		}
	}
	for _, bad := range []string{"host", "host:5", "10.0.0.1:x", "10.0.0.1:66000", "1:2:3"} {
		if got, err := bindAddr(bad); err == nil && got.Port() != DefaultPort {
			t.Errorf("%q: %v", bad, got)
		}
	}
	if ip, err := advertised("127.0.0.9:1"); err != nil || ip.String() != "127.0.0.9" {
		t.Errorf("%v %v", ip, err)
	}
	if ip, err := advertised("0.0.0.0:1"); err == nil && (ip.IsUnspecified() || ip.IsLoopback()) {
		t.Errorf("others are told to use %v", ip)
	}
}

func TestProfileOf(t *testing.T) {
	if name, p := ProfileOf("127.0.0.1:7946"); name != "wired" || p != Wired() {
		t.Errorf("loopback is %s", name)
	}
	dir := t.TempDir()
	for _, path := range []string{"eth0", "wlan0/wireless", "wlp1s0/phy80211"} {
		if err := os.MkdirAll(filepath.Join(dir, path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{"eth0": false, "wlan0": true, "wlp1s0": true, "none": false} {
		if got := isWireless(dir, &net.Interface{Name: name}); got != want {
			t.Errorf("%s is wireless: %v", name, got)
		}
	}
	if isWireless(dir, nil) {
		t.Error("no interface is wireless")
	}
	if i := interfaceOf(netip.MustParseAddr("127.0.0.1")); i == nil || i.Flags&net.FlagLoopback == 0 {
		t.Errorf("127.0.0.1 is on %v", i)
	}
}

func TestLines(t *testing.T) {
	r := &recorder{found: make(chan string, 2*linesMax)}
	l := newLines(slog.New(r))
	for range 2 * linesMax { // nobody reads: must not block
		fmt.Fprint(l, "[ERR] memberlist: Push/Pull with b failed: timeout\n")
	}
	if len(l.queue) != linesMax {
		t.Errorf("%d lines are queued", len(l.queue))
	}
	for len(l.queue) > 0 {
		l.tell(<-l.queue)
	}
	for _, line := range []string{"[INFO] memberlist: Suspect b has failed, no acks received\n", "[ERR] memberlist: failed to receive: EOF\n",
		"[WARN] memberlist: Refuting a suspect message (from: b)\n", "no level at all", "", "[", "[WARN] x"} {
		l.tell(line)
	}
	close(r.found)
	var got []string
	for line := range r.found {
		got = append(got, line)
	}
	want := []string{"WARN gossip: Push/Pull with b failed: timeout", "WARN gossip: Refuting a suspect message (from: b)", "WARN gossip: x"}
	if !slices.Equal(got, want) {
		t.Errorf("logged %q", got)
	}
	if fmt.Fprint(l, "[DEBUG] memberlist: Stream connection\n"); len(l.queue) != 0 {
		t.Error("debugging is queued although nobody wants it")
	}
	for i := range 2 * kindsMax {
		l.due(fmt.Sprint("kind ", i))
	}
	if len(l.kinds) > kindsMax {
		t.Errorf("%d kinds are kept", len(l.kinds))
	}
}

// Garbage from strangers changes nothing, and members still get in.
func TestGarbageFromStrangers(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	a := start(t, Config{Name: "a", Key: k, Profile: patient()})
	for _, network := range []string{"udp", "tcp"} {
		for _, b := range [][]byte{{0}, {1}, {9, 9, 9}, {12, 255, 255, 255, 255}, make([]byte, 1400), {244, 1, 0}, {10, 0, 255, 255, 255, 0}} {
			c, err := net.Dial(network, a.Addr())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
	}
	b := start(t, Config{Name: "b", Key: k, Profile: patient(), Join: []string{a.Addr()}})
	a.seesState("b", Alive)
	b.seesState("a", Alive)
	if len(a.Members()) != 2 {
		t.Errorf("%+v", a.Members())
	}
}

func TestNeighbor(t *testing.T) {
	m := &Membership{config: Config{Key: sitekey.Key{1}}}
	good := mdns.ServiceEntry{AddrV4: net.IPv4(10, 0, 0, 1), Port: 7946, InfoFields: []string{"x", m.mdnsTag()}}
	if addr, ok := m.neighbor(&good); !ok || addr.String() != "10.0.0.1:7946" {
		t.Errorf("%v %v", addr, ok)
	}
	for what, change := range map[string]func(*mdns.ServiceEntry){
		"another site": func(e *mdns.ServiceEntry) { e.InfoFields = []string{"site=0123"} },
		"no port":      func(e *mdns.ServiceEntry) { e.Port = 0 },
		"no address":   func(e *mdns.ServiceEntry) { e.AddrV4 = nil },
		"half address": func(e *mdns.ServiceEntry) { e.AddrV4 = net.IP{1, 2} },
	} {
		bad := good
		change(&bad)
		if addr, ok := m.neighbor(&bad); ok {
			t.Errorf("%s: %v", what, addr)
		}
	}
	for i := range 2 * neighborsMax {
		m.neighbors.add(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(i+1)))
	}
	if n := len(m.neighbors.list()); n != neighborsMax {
		t.Errorf("%d neighbours are remembered", n)
	}
	m.neighbors.seen[netip.MustParseAddrPort("10.0.0.1:1")] = time.Now().Add(-2 * neighborFor)
	if n := len(m.neighbors.list()); n != neighborsMax-1 {
		t.Errorf("%d neighbours after one has aged", n)
	}
}
