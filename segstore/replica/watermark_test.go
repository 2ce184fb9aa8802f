package replica

import "testing"

func TestWatermark(t *testing.T) {
	for _, c := range []struct {
		name     string
		now      int64
		ends     []int64
		isr, min int
		want     int64
	}{
		{"alone", 3, []int64{5}, 1, 1, 5},
		{"the lowest counts", 3, []int64{9, 5, 7}, 3, 2, 5},
		{"never back", 6, []int64{9, 5}, 2, 2, 6},
		{"one not heard of", 3, []int64{9, -1}, 2, 2, 3},
		{"too few in sync", 3, []int64{9}, 1, 2, 3},
	} {
		if got := watermark(c.now, c.ends, c.isr, c.min); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
