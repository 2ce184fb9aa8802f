package segstore

import (
	"fmt"
	"testing"

	"cistern/segstore/batch"
	"cistern/segstore/vfs"
)

// TestCardThatLies covers scenario 28: every sync says yes, and power takes what
// was confirmed. The next start says which partitions are not what they were.
func TestCardThatLies(t *testing.T) {
	for name, stop := range map[string]bool{"clean stop": true, "leader epoch": false} {
		t.Run(name, func(t *testing.T) {
			p, meta := vfs.NewPowerCut(), newMemMeta()
			s := openStore(t, crashConfig(p, meta))
			if err := s.PutStream(testStream("a", 2)); err != nil {
				t.Fatal(err)
			}
			if err := put(s, s.Log(pid(0)), t, "kept"); err != nil {
				t.Fatal(err)
			}
			s.Close()
			s = openStore(t, crashConfig(noSync{p}, meta))
			for epoch := range int32(2) {
				for i := range 2 {
					g := s.Log(pid(i))
					b := makeBatch(t, "lost")
					batch.Stamp(b, g.EndOffset(), 5+epoch)
					if _, err := s.Commit(Entry{Log: g, Batch: b, Verbatim: true}); err != nil {
						t.Fatal(err)
					}
				}
			}
			if stop {
				s.Close()
			}
			after := p.Crash(1, vfs.Tear{Sector: 4096, Unsynced: vfs.Lost})
			for range 2 {
				s, err := Open(crashConfig(after, meta))
				if err != nil {
					t.Fatal(err)
				}
				if got := fmt.Sprint(s.Unclean()); got != "[a/0 a/1]" {
					t.Errorf("unclean are %v, want both", got)
				}
				s.Close()
			}
			s, err := Open(crashConfig(after, meta))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.ForgetUnclean(); err != nil {
				t.Fatal(err)
			}
			s.Close()
			if s, err = Open(crashConfig(after, meta)); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if u := s.Unclean(); len(u) > 0 {
				t.Errorf("still unclean after it was dealt with: %v", u)
			}
		})
	}
}
