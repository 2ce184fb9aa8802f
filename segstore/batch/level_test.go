package batch

import (
	"runtime"
	"testing"
)

// What a Level weighs is what LevelBest's comment says: on a small board it is
// the reason to stay below.
func TestLevelMemory(t *testing.T) {
	src := build(t, 0, NoProducer, readings(2000))[HeaderLen:]
	for level, limit := range map[int]int64{1: 4 << 20, 3: 6 << 20, 9: 10 << 20, LevelBest: 42 << 20} {
		l := NewLevel(level)
		before := heap()
		out := l.encoder.EncodeAll(src, make([]byte, 0, len(src)))
		took := heap() - before
		if took > limit {
			t.Errorf("level %d takes %d KiB, at most %d", level, took>>10, limit>>10)
		}
		t.Logf("level %d takes %d KiB and makes %d bytes of %d", level, took>>10, len(out), len(src))
		runtime.KeepAlive(l)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools keep what they have over one
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
