package segstore

import (
	"testing"
	"testing/synctest"
	"time"

	"cistern/segstore/vfs"
)

func TestCompanyGivesUpOnThoseWhoDoNotCome(t *testing.T) {
	now := time.Unix(1000, 0)
	c := company{}
	var waited []int
	for n := range 100 {
		c.ended(2, 4*time.Millisecond, now)
		if wait := c.wait(1, now); wait > 0 {
			if wait != time.Millisecond {
				t.Fatalf("it waits %s for a commit of 4 ms", wait)
			}
			waited = append(waited, n)
			c.waited(0)
		}
	}
	if want := []int{0, 2, 5, 10, 19, 36, 69}; len(waited) != len(want) || waited[len(waited)-1] != want[len(want)-1] {
		t.Errorf("it waited in vain at commits %v, want %v", waited, want)
	}
	c = company{}
	for range 100 {
		c.ended(3, time.Second, now)
		if wait := c.wait(1, now); wait != companyMax {
			t.Fatalf("it waits %s for those who come, want %s", wait, companyMax)
		}
		c.waited(1)
	}
	if c.wait(3, now) != 0 || c.wait(1, now.Add(companyMax)) != 0 {
		t.Error("it waits for nobody, or for too long")
	}
}

// TestSourcesShareACommit: two sources that begin at different times, each with its
// next batch a while after the last was done, on a card that takes 4 ms. On a gateway
// of its own nobody is waited for, which is what to compare with.
func TestSourcesShareACommit(t *testing.T) {
	for _, r := range []struct {
		name          string
		after         time.Duration
		commits, took float64 // at most, as a share of those without waiting
	}{
		{"those who come soon are waited for", 500 * time.Microsecond, 0.55, 0.65},
		{"those who come late are not", 3 * time.Millisecond, 1, 1.05},
	} {
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plain, plainTook := twoSources(t, false, r.after)
				commits, took := twoSources(t, true, r.after)
				if float64(commits) > r.commits*float64(plain) || took.Seconds() > r.took*plainTook.Seconds() {
					t.Errorf("%d commits in %s; without waiting %d in %s", commits, took, plain, plainTook)
				}
				t.Logf("%d commits in %s; without waiting %d in %s", commits, took, plain, plainTook)
			})
		})
	}
}

func twoSources(t *testing.T, replicated bool, after time.Duration) (commits int64, took time.Duration) {
	s := openStore(t, Config{Dir: t.TempDir(), FS: vfs.NewSlowCard(vfs.OS), MaxBytes: 64 << 20})
	defer s.Close()
	c := testStream("s", 2)
	if err := s.PutStream(c); err != nil {
		t.Fatal(err)
	}
	if replicated {
		for _, g := range s.Logs() {
			g.Replicate(func() {})
		}
	}
	if _, err := s.Commit(Entry{Log: s.Logs()[0], Batch: makeBatch(t, "first")}); err != nil { // it rolls
		t.Fatal(err)
	}
	before, began := s.Stats().Commits, time.Now()
	done := make(chan error, 2)
	for i, g := range s.Logs() {
		go func() {
			var err error
			time.Sleep(time.Duration(i) * 2 * time.Millisecond)
			for n := 0; n < 50 && err == nil; n++ {
				_, err = s.Commit(Entry{Log: g, Batch: makeBatch(t, "x")})
				time.Sleep(after)
			}
			done <- err
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return s.Stats().Commits - before, time.Since(began)
}
