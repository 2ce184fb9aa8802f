package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// table prints markdown, one row at a time, so that a long run shows its work.
type table struct{ out io.Writer }

func newTable(out io.Writer, title, remark string, columns ...string) table {
	fmt.Fprintf(out, "\n### %s\n", title)
	if remark != "" {
		fmt.Fprintf(out, "\n%s\n", remark)
	}
	t := table{out}
	fmt.Fprintln(out)
	t.row(columns...)
	rules := make([]string, len(columns))
	for i := range rules {
		rules[i] = "--:"
	}
	rules[0] = "---"
	t.row(rules...)
	return t
}

func (t table) row(cells ...string) { fmt.Fprintf(t.out, "| %s |\n", strings.Join(cells, " | ")) }

// median returns the middle one by key; the rest of the result comes with it,
// so that its figures belong together.
func median(results []Result, key func(Result) float64) Result {
	if len(results) == 0 {
		return Result{}
	}
	slices.SortFunc(results, func(a, b Result) int {
		switch ka, kb := key(a), key(b); {
		case ka < kb:
			return -1
		case ka > kb:
			return 1
		}
		return 0
	})
	return results[len(results)/2]
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1000) }
func count(n float64) string        { return fmt.Sprintf("%.0f", n) }
func ratio(a, b float64) string {
	if b == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", a/b)
}

// per returns a per b, 0 when there is no b.
func per(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}
