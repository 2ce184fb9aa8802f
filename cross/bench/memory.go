package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"cistern/cross/load"
	"cistern/segstore/vfs"
)

// memoryLimit is what the agent sets by default.
const memoryLimit = 28 << 20

// held is a store whose memory is measured.
type held struct {
	Dir        string
	Partitions int
	Active     bool  // every partition appends
	Bytes      int64 // stored before
}

// Memory is what holding a store open takes.
type Memory struct{ Heap, RSS int64 }

// memory measures what partitions and a backlog cost in RAM, without the rest
// of the agent.
func memory(ctx context.Context, p *plan) error {
	backlog := int64(1 << 30)
	if p.quick {
		backlog = 64 << 20
	}
	t := newTable(p.out, "RAM of an open store", fmt.Sprintf("Heap after a collection; memory limit %d MiB, the agent's default.", memoryLimit>>20),
		"partitions", "active", "stored MiB", "heap MiB", "KiB per partition over 1 idle", "RSS MB")
	var base Memory
	for i, h := range []held{
		{Partitions: 1},
		{Partitions: 256},
		{Partitions: 1024},
		{Partitions: 256, Active: true},
		{Partitions: 1, Bytes: backlog},
		{Partitions: 256, Active: true, Bytes: backlog},
	} {
		h.Dir = filepath.Join(p.dir, "held")
		if err := os.RemoveAll(h.Dir); err != nil {
			return err
		}
		m, err := inChild[held, Memory](ctx, "memory", h)
		if err != nil {
			return err
		}
		each := "–"
		if i == 0 {
			base = m
		} else if h.Partitions > 1 {
			each = fmt.Sprintf("%.1f", float64(m.Heap-base.Heap)/float64(h.Partitions-1)/1024)
		}
		t.row(fmt.Sprint(h.Partitions), fmt.Sprint(h.Active), fmt.Sprint(h.Bytes>>20), fmt.Sprintf("%.1f", mib(m.Heap)), each, fmt.Sprintf("%.0f", float64(m.RSS)/1e6))
	}
	return os.RemoveAll(filepath.Join(p.dir, "held"))
}

func measureMemory(h held) (m Memory, err error) {
	debug.SetMemoryLimit(memoryLimit)
	s := Setting{Dir: h.Dir, Partitions: h.Partitions, Producers: 1, Batch: 1, Size: 128}
	if h.Active {
		s.Producers = h.Partitions
	}
	j, err := newJournal(s, vfs.OS, h.Bytes+storeSlack)
	if err != nil {
		return m, err
	}
	if err := j.fill(int(h.Bytes)); err != nil {
		return m, err
	}
	if h.Active {
		pool := make([][][]byte, s.Producers)
		for p := range pool {
			pool[p] = load.Records(p, 2, s.Size)
		}
		if _, err := drive(context.Background(), j, s, pool, time.Second); err != nil {
			return m, err
		}
	}
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m = Memory{Heap: int64(stats.HeapAlloc), RSS: residentNow()}
	return m, j.Close()
}
