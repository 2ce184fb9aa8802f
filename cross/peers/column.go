package main

import (
	"fmt"
	"strings"
)

// column is one figure of a table. first is what the first server gave, ours.
type column struct {
	head string
	of   func(f, first *figures) string
}

var (
	rate = column{"messages/s", func(f, _ *figures) string { return fmt.Sprintf("%.0f", f.PerSecond()) }}

	times = column{"cistern is", func(f, first *figures) string {
		if f == first || f.row.rate > 0 {
			return "–"
		}
		return fmt.Sprintf("%.2f ×", first.PerSecond()/max(f.PerSecond(), 1))
	}}

	p50 = column{"p50 ms", percentile(50)}
	p99 = column{"p99 ms", percentile(99)}

	cpu = column{"CPU s per M", func(f, _ *figures) string {
		return fmt.Sprintf("%.1f", f.cpu.Seconds()*1e6/f.messages())
	}}
	flushes = column{"flushes per 1,000", func(f, _ *figures) string {
		return fmt.Sprintf("%.1f", float64(f.flushes)*1000/f.messages())
	}}
	rss = column{"RSS MB", func(f, _ *figures) string { return fmt.Sprintf("%.0f", float64(f.rss)/1e6) }}

	device = column{"device bytes", func(f, _ *figures) string {
		if f.device < 0 {
			return "–"
		}
		return fmt.Sprintf("%.2f", f.device)
	}}
)

func percentile(p int) func(f, _ *figures) string {
	return func(f, _ *figures) string { return fmt.Sprintf("%.2f", f.Percentile(p).Seconds()*1000) }
}

func (p part) header() {
	fmt.Printf("\n### %s\n\n| clients × in flight | server |", p.title)
	for _, c := range p.columns {
		fmt.Printf(" %s |", c.head)
	}
	fmt.Printf("\n|---|---|%s\n", strings.Repeat("--:|", len(p.columns)))
}

func (p part) line(name string, f, first *figures) {
	fmt.Printf("| %s | %s |", f.row, name)
	for _, c := range p.columns {
		fmt.Printf(" %s |", c.of(f, first))
	}
	fmt.Println()
}
