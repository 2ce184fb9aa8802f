package board

import (
	"math"
	"math/rand/v2"
	"testing"
)

func sd(cid string, written int64) *Disk {
	return &Disk{Device: "mmcblk0", Kind: KindSD, CID: cid, BytesWritten: written}
}

func TestWear(t *testing.T) {
	var w Wear
	for i, step := range []struct {
		boot         string
		sinceBoot    int64
		bytes, boots int64
	}{
		{"one", 1000, 1000, 1}, // what this boot wrote before the first look counts
		{"one", 1000, 1000, 1}, // the agent was started anew
		{"one", 1500, 1500, 1},
		{"two", 200, 1700, 2},
		{"two", 700, 2200, 2},
		{"two", 300, 2500, 2}, // taken out and put back: it counts from zero
		{"three", 9000, 11500, 3},
	} {
		next, err := w.Next(sd("aa", step.sinceBoot), step.boot)
		if err != nil {
			t.Fatal(i, err)
		}
		if want := (Wear{"cid-aa", step.bytes, step.boot, step.sinceBoot, step.boots}); next != want {
			t.Errorf("step %d: %+v, want %+v", i, next, want)
		}
		w = next
	}
	for want, c := range map[string]struct {
		w    Wear
		d    *Disk
		boot string
	}{
		"the record is of disk cid-aa, and this is cid-bb":              {w, sd("bb", 1), "four"},
		"disk mmcblk0 has nothing to know it by again":                  {w, sd("", 1), "four"},
		"which boot this is is not known":                               {w, sd("aa", 1), ""},
		"negative counts: -1 written since boot, 9000 and 11500 in the": {w, sd("aa", -1), "four"},
		"negative counts: 1 written since boot, 0 and -5 in the record": {Wear{Bytes: -5}, sd("aa", 1), "four"},
	} {
		next, err := c.w.Next(c.d, c.boot)
		if err == nil {
			t.Errorf("%q is no error", want)
			continue
		}
		contains(t, err.Error(), want)
		if next != c.w {
			t.Errorf("%v: the record is now %+v", err, next)
		}
	}
}

func TestWearHasAnEnd(t *testing.T) {
	w, err := Wear{Disk: "cid-aa", Bytes: math.MaxInt64 - 10}.Next(sd("aa", 100), "one")
	if err != nil || w.Bytes != math.MaxInt64 {
		t.Errorf("%+v, %v", w, err)
	}
}

// Whatever boots there are and however often one looks, nothing is counted
// twice, and nothing before the last look of a boot is left out.
func TestWearOfAnyLife(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 7))
		var w Wear
		var want int64
		for boot := range 1 + r.IntN(5) {
			var since int64
			for range 1 + r.IntN(6) {
				more := r.Int64N(1000)
				since, want = since+more, want+more
				var err error
				if w, err = w.Next(sd("aa", since), string(rune('a'+boot))); err != nil {
					t.Fatal(seed, err)
				}
			}
		}
		if w.Bytes != want {
			t.Fatalf("seed %d: %d bytes, want %d", seed, w.Bytes, want)
		}
	}
}

func TestDiskID(t *testing.T) {
	for want, d := range map[string]Disk{
		"cid-ab":          {CID: "ab", Serial: "0x01"},
		"serial-SSD-0001": {Name: "SSD", Serial: "0001"},
		"":                {Name: "SSD"},
	} {
		if got := d.ID(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
