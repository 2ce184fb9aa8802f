package quorum

import (
	"errors"
	"os"
	"slices"
	"testing"

	"cistern/gossip"
	"cistern/gossip/metadata"
)

func TestRecover(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.start("a", "b", "c")
	s.formed("a", "b", "c")
	s.propose("a", putStream("kept"))
	s.await("everybody has it", func() bool { return s.hasStream("a", "kept") && s.hasStream("b", "kept") && s.hasStream("c", "kept") })
	id := s.nodes["a"].q.Image().Site
	old := map[string]*node{}
	for name, n := range s.nodes {
		n.crash()
		old[name] = n
		s.set(name, func(m *gossip.Member) { m.State = gossip.Dead })
	}
	clear(s.nodes)

	r, err := Inspect(old["a"].dir)
	if err != nil || r.Site != id || len(r.Members) != 3 || len(votersOf(r.Servers)) != 3 || r.Image.Streams["kept"] == nil {
		t.Fatalf("%+v, %v", r, err)
	}
	p := r.Image.Streams["kept"].Partitions[0]
	var insync, others []string
	for _, m := range r.Members {
		if p.InISR(m.ID) {
			insync = append(insync, m.Name)
		} else {
			others = append(others, m.Name)
		}
	}
	if lost := r.Lost(insync[:1]); len(lost) != 0 {
		t.Errorf("lost with %v: %v", insync, lost)
	}
	if lost := r.Lost(others); !slices.Equal(lost, []metadata.PartitionID{{Stream: "kept"}}) {
		t.Errorf("lost with %v: %v", others, lost)
	}

	r, err = Recover(old["a"].dir, Server{Name: "a", Address: old["a"].addr})
	if err != nil || r.NewSite == "" || r.NewSite == id {
		t.Fatalf("%+v, %v", r, err)
	}
	s.boot("a", old["a"].addr, old["a"].dir)
	s.propose("a", putStream("after"))
	if img := s.nodes["a"].q.Image(); img.Site != r.NewSite || img.Streams["kept"] == nil || len(img.Members) != 3 {
		t.Errorf("%+v", img)
	}

	// One of the old site comes back: it stays out until it forgets.
	s.boot("b", old["b"].addr, old["b"].dir)
	s.await("the conflict is told", func() bool { return s.nodes["a"].q.Status().Conflict != "" && s.nodes["b"].q.Status().Conflict != "" })
	s.nodes["b"].crash()
	if err := Forget(old["b"].dir); err != nil {
		t.Fatal(err)
	}
	s.boot("b", old["b"].addr, old["b"].dir)
	s.await("b is back", func() bool { return s.hasStream("b", "after") })
	s.await("b votes", func() bool { return len(votersOf(s.nodes["a"].q.Servers())) == 2 })
}

func TestRecoverNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Inspect(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("inspect: %v", err)
	}
	s := openTestStore(t, dir)
	if _, err := Inspect(dir); err == nil {
		t.Error("inspected a store in use")
	}
	s.close()
	if _, err := Recover(dir, Server{Name: "a", Address: "a:1"}); err == nil {
		t.Error("recovered a gateway without a site")
	}
}
