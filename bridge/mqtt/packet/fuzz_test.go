package packet

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// FuzzDecode feeds a stream to the decoders of both versions. What is taken
// must encode to something that decodes to the same.
func FuzzDecode(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []Version{V311, V5} {
			once, err := decode(v, b)
			if err != nil {
				continue
			}
			twice, err := decode(v, once)
			if err != nil || !bytes.Equal(once, twice) {
				t.Fatalf("%s: % x\nfirst  % x\nsecond % x, %v", v, b, once, twice, err)
			}
		}
	})
}

// FuzzReader holds that a stream's packets do not depend on the buffer, and
// that memory stays within twice what came.
func FuzzReader(f *testing.F) {
	f.Add([]byte("\x30\x03\x00\x01a\xc0\x00"), 3)
	f.Fuzz(func(t *testing.T, b []byte, chunk int) {
		chunk = 1 + max(0, chunk%64)
		whole := NewReader(bytes.NewReader(b), 1<<16, nil)
		cut := NewReader(&chunks{b, chunk}, 1<<16, nil)
		for {
			h, body, err := whole.Next()
			h2, body2, err2 := cut.Next()
			if h != h2 || !bytes.Equal(body, body2) || (err == nil) != (err2 == nil) {
				t.Fatalf("%v % x %v, in chunks %v % x %v", h, body, err, h2, body2, err2)
			}
			if len(cut.buf) > max(bufferMin, 2*len(b), bufferMax) {
				t.Fatalf("%d bytes of buffer for %d bytes", len(cut.buf), len(b))
			}
			if err != nil {
				return
			}
		}
	})
}

type chunks struct {
	b []byte
	n int
}

func (c *chunks) Read(p []byte) (int, error) {
	n := copy(p[:min(len(p), c.n)], c.b)
	c.b = c.b[n:]
	if n == 0 {
		return 0, bytes.ErrTooLarge
	}
	return n, nil
}

// FuzzMatch compares Match and Overlap with the plain definition.
func FuzzMatch(f *testing.F) {
	f.Add("a/+/#", "a/b", "a/#")
	f.Fuzz(func(t *testing.T, filter, topic, other string) {
		if !ValidFilter(filter) || !ValidTopic(topic) {
			return
		}
		got := Match(filter, topic)
		if want := matchLevels(filter, topic); got != want {
			t.Fatalf("Match(%q, %q) = %v", filter, topic, got)
		}
		if got != Match(filter, []byte(topic)) {
			t.Fatal("string and bytes differ")
		}
		if ValidFilter(other) && got && Match(other, topic) && !Overlap(filter, other) {
			t.Fatalf("%q and %q both match %q", filter, other, topic)
		}
	})
}

func matchLevels(filter, topic string) bool {
	if topic[0] == '$' && strings.ContainsAny(filter[:1], "+#") {
		return false
	}
	fs, ts := strings.Split(filter, "/"), strings.Split(topic, "/")
	if n := len(fs) - 1; fs[n] == "#" {
		if len(ts) < n {
			return false
		}
		fs, ts = fs[:n], ts[:n]
	}
	return slices.EqualFunc(fs, ts, func(f, t string) bool { return f == "+" || f == t })
}
