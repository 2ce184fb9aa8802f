package site

import (
	"context"
	"io"
	"testing"
	"time"
)

func network(t *testing.T) *Network {
	t.Helper()
	if err := Needs(); err != nil {
		t.Skip(err)
	}
	n, err := NewNetwork()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// reachMax is how long a host may take to reach another after a repair: a carrier that
// was away takes a moment, and an ARP that was lost a second.
const reachMax = 10 * time.Second

// Each fault stops what it should and nothing else, in silence, and is counted.
func TestFaultsOfANetwork(t *testing.T) {
	n := network(t)
	var hosts []*Host
	for _, name := range []string{"a", "b", "c"} {
		h, err := n.Host(name)
		if err != nil {
			t.Fatal(err)
		}
		l, err := h.listen(h.IP + ":7")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(c, c); c.Close() }()
			}
		}()
		hosts = append(hosts, h)
	}
	a, b, c := hosts[0], hosts[1], hosts[2]
	reaches := func(from, to *Host) bool {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		conn, err := from.dial(ctx, to.IP+":7")
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	all := func(when string, want map[[2]*Host]bool) {
		t.Helper()
		for pair, ok := range want {
			reached := reaches(pair[0], pair[1])
			for deadline := time.Now().Add(reachMax); ok && !reached && time.Now().Before(deadline); reached = reaches(pair[0], pair[1]) {
				time.Sleep(10 * time.Millisecond) // another's ARP: nothing to wait on
			}
			if reached != ok {
				t.Errorf("%s: %s reaches %s: %t", when, pair[0].name, pair[1].name, !ok)
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	all("well", map[[2]*Host]bool{{a, b}: true, {b, c}: true, {c, a}: true})
	must(n.CutOneWay(a, b))
	all("one way", map[[2]*Host]bool{{a, b}: false, {b, a}: false, {a, c}: true, {b, c}: true}) // TCP needs both
	if dropped, err := n.Dropped(); err != nil || dropped == 0 {
		t.Errorf("%d frames dropped, %v", dropped, err)
	}
	must(n.Heal())
	must(n.Cut(b, c))
	all("cut", map[[2]*Host]bool{{a, b}: true, {b, c}: false, {c, b}: false})
	must(n.Heal())
	must(a.Unplug())
	all("unplugged", map[[2]*Host]bool{{a, b}: false, {c, b}: true})
	must(a.Plug())
	must(n.Lose(99))
	all("nearly all lost", map[[2]*Host]bool{{b, c}: false})
	must(n.Heal())
	all("healed", map[[2]*Host]bool{{a, b}: true, {b, c}: true, {c, a}: true})
	if sent, err := a.Sent(); err != nil || sent == 0 {
		t.Errorf("%d frames sent, %v", sent, err)
	}
}
