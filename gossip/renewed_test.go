package gossip

import (
	"testing"
	"time"
)

// A gateway is back before anybody missed it, and was told of nobody to join. The
// others have to notice, or it stays alone until somebody happens to compare.
func TestWhoBeginsAnewIsTold(t *testing.T) {
	k, p := newKey(t), patient() // nobody is missed
	p.PushPullInterval = time.Hour
	all := site(t, 3, k, p)
	a := all[0]
	for _, g := range all[1:] {
		g.knowsProcess("a")
	}
	a.kill()
	again := start(t, Config{Name: "a", Bind: a.Addr(), Key: k, Profile: p})
	again.seesState("b", Alive)
	again.seesState("c", Alive)
}

// knowsProcess waits until g has heard which process is behind a name.
func (g *gateway) knowsProcess(name string) {
	g.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		g.processes.mu.Lock()
		_, ok := g.processes.seen[name]
		g.processes.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			g.t.Fatalf("%s never heard which process %s is", g.config.Name, name)
		}
	}
}

func TestProcessesAreToldApart(t *testing.T) {
	p := newProcesses()
	one, other := newProcesses().own[:], newProcesses().own[:]
	for _, c := range []struct {
		what string
		addr string
		mark []byte
		news bool
	}{
		{"the first answer", "10.0.0.1:7610", one, false},
		{"the same process", "10.0.0.1:7610", one, false},
		{"another process", "10.0.0.1:7610", other, true},
		{"the same again", "10.0.0.1:7610", other, false},
		{"nothing said", "10.0.0.1:7610", nil, false},
		{"noise", "10.0.0.1:7610", []byte("abc"), false},
		{"no address", "nowhere", one, false},
		{"the first one again", "10.0.0.2:7610", one, true},
	} {
		p.saw("a", c.addr, c.mark)
		select {
		case at := <-p.renewed:
			if !c.news || at.String() != c.addr {
				t.Errorf("%s: news of %s", c.what, at)
			}
		default:
			if c.news {
				t.Errorf("%s: no news", c.what)
			}
		}
	}
}
