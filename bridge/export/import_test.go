package export

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// taker is a gateway that takes what it is given, up to a moment.
type taker struct {
	next   map[metadata.PartitionID]int64
	values []string
	chunks int
	fail   int  // the chunk that is taken and not answered; 0: none
	forget bool // it remembers nothing
}

func (g *taker) Imported(_ context.Context, c Chunk) (int64, error) {
	if next, ok := g.next[c.Partition]; ok && !g.forget {
		return next, nil
	}
	return -1, nil
}

var errLink = errors.New("the answer is lost")

func (g *taker) Import(_ context.Context, c Chunk) (int64, error) {
	if len(c.Batches) > ChunkBytesMax {
		return 0, fmt.Errorf("%d bytes", len(c.Batches))
	}
	g.chunks++
	next := c.From
	for rest := c.Batches; len(rest) > 0; {
		one, more, err := batch.Next(rest)
		if err != nil {
			return 0, err
		}
		rest = more
		for r, err := range batch.Records(one, recordsBytesMax) {
			if err != nil {
				return 0, err
			}
			if r.Offset >= c.From {
				g.values = append(g.values, string(r.Value))
			}
			next = r.Offset + 1
		}
	}
	if g.next == nil {
		g.next = map[metadata.PartitionID]int64{}
	}
	g.next[c.Partition] = next
	if g.chunks == g.fail {
		return 0, errLink
	}
	return next, nil
}

// bulky has batches of 100 KiB, so that several make a chunk.
func bulky(t *testing.T, stream string, batches int) *memLog {
	t.Helper()
	l := newLog(stream, 0, 0)
	for range batches {
		l.add(t, false, batch.Record{Key: []byte("k"), Value: append(fmt.Appendf(nil, "%s %d ", l.id, l.next), noise(100<<10)...)})
	}
	return l
}

// short leaves the noise out.
func short(values []string) (out []string) {
	for _, v := range values {
		words := strings.SplitN(v, " ", 3)
		out = append(out, words[0]+" "+words[1])
	}
	return out
}

func wanted(logs ...*memLog) (out []string) {
	for _, l := range logs {
		for o := l.start; o < l.next; o++ {
			out = append(out, fmt.Sprintf("%s %d", l.id, o))
		}
	}
	return out
}

func TestImport(t *testing.T) {
	a, b := bulky(t, "a", 23), bulky(t, "b", 7)
	dir := t.TempDir()
	m := export(t, Options{Dir: dir, Format: Kafka, FileBytes: 1 << 20}, whole(a), whole(b))
	var g taker
	done, err := Import(t.Context(), dir, m, &g, nil)
	if err != nil || done.Records != 30 || done.Before != 0 || done.NoteError != nil {
		t.Fatalf("%+v, %v", done, err)
	}
	if got := short(g.values); !slices.Equal(got, wanted(a, b)) {
		t.Errorf("got %q", got)
	}
	if g.chunks < 6 {
		t.Errorf("%d chunks", g.chunks)
	}
	// Again: nothing is given, whether the gateway or the folder knows.
	for _, again := range []*taker{{next: g.next}, {forget: true}} {
		done, err = Import(t.Context(), dir, m, again, nil)
		if err != nil || done.Records != 0 || done.Before != 30 || len(again.values) != 0 {
			t.Errorf("again: %+v, %v", done, err)
		}
	}
}

// An import whose answer is lost goes on behind what the gateway has.
func TestImportGoesOn(t *testing.T) {
	a := bulky(t, "a", 23)
	dir := t.TempDir()
	m := export(t, Options{Dir: dir, Format: Kafka}, whole(a))
	for fail := 1; ; fail++ {
		if err := os.RemoveAll(filepath.Join(dir, ProgressName)); err != nil {
			t.Fatal(err)
		}
		g := taker{fail: fail}
		_, err := Import(t.Context(), dir, m, &g, nil)
		if err == nil {
			if fail < 4 {
				t.Errorf("only %d chunks", fail-1)
			}
			break
		}
		if !errors.Is(err, errLink) {
			t.Fatal(err)
		}
		if _, err := Import(t.Context(), dir, m, &g, nil); err != nil {
			t.Fatal(err)
		}
		if got := short(g.values); !slices.Equal(got, wanted(a)) {
			t.Errorf("answer %d lost: got %q", fail, got)
		}
	}
}

func TestDamagedFiles(t *testing.T) {
	l := newLog("mqtt", 0, 0).fill(t, 9)
	for name, damage := range map[string]func(b []byte) []byte{
		"a bit":          func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"an offset":      func(b []byte) []byte { b[7] ^= 1; return b }, // outside the batch's own checksum
		"cut short":      func(b []byte) []byte { return b[:len(b)-1] },
		"cut by a batch": func(b []byte) []byte { return b[:len(b)*8/9] },
		"more":           func(b []byte) []byte { return append(b, b[:100]...) },
		"a size":         func(b []byte) []byte { b[8] = 0x7f; return b },
		"empty":          func([]byte) []byte { return nil },
	} {
		dir := t.TempDir()
		m := export(t, Options{Dir: dir, Format: Kafka}, whole(l))
		path := filepath.Join(dir, m.Partitions[0].Files[0].Name)
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, damage(b), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := Verify(t.Context(), dir, m, nil); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestImportRefuses(t *testing.T) {
	m := &Manifest{Format: NDJSON}
	if _, err := Import(t.Context(), t.TempDir(), m, &taker{}, nil); err == nil {
		t.Error("ndjson was imported")
	}
}
