package drain

import "testing"

// TestDrainedOffset: the lowest of all flows counts, and what can't be read says
// so.
func TestDrainedOffset(t *testing.T) {
	r := newRecord(100, 0)
	r.Live.Position = 900
	if at, err := DrainedOffset(r.encode()); err != nil || at != 900 {
		t.Errorf("%d, %v", at, err)
	}
	older := r.Live
	older.From, older.End, older.Position, older.Skip = 100, 500, 200, 300
	r.Older, r.Live.From = []flowRecord{older}, 500
	if at, err := DrainedOffset(r.encode()); err != nil || at != 300 {
		t.Errorf("%d, %v", at, err)
	}
	if _, err := DrainedOffset([]byte("x")); err == nil {
		t.Error("nonsense was read")
	}
}
