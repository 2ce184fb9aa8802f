package slot

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

var testRelease = Release{Version: "v1.2.3", Commit: "abcdef", Board: BoardQemu, Build: "0123456789"}

func testKeys(t testing.TB) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	k := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	return k.Public().(ed25519.PublicKey), k
}

// testImage is a slot's: it begins like one, and is not all compressible.
func testImage(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b[:n/2])
	return b
}

func testUpdate(t testing.TB, image []byte) []byte {
	t.Helper()
	_, key := testKeys(t)
	var out bytes.Buffer
	if _, err := WriteUpdate(&out, key, testRelease, image); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// otherSlot is a slot with an older system, longer than the new one.
func otherSlot() *memory {
	m := newMemory(4 << 20)
	for i := range m.b {
		m.b[i] = 0xee
	}
	return m
}

func TestApply(t *testing.T) {
	pub, _ := testKeys(t)
	image := testImage(3<<20 + SectorBytes)
	m := otherSlot()
	steps := map[string]int64{}
	got, err := Apply(iotest.OneByteReader(bytes.NewReader(testUpdate(t, image))), pub, BoardQemu, m, func(step string, done, total int64) {
		if total != int64(len(image)) || done <= steps[step] {
			t.Errorf("%s: %d of %d after %d", step, done, total, steps[step])
		}
		steps[step] = done
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Release != testRelease || !bytes.Equal(m.b[:len(image)], image) {
		t.Errorf("another system was written: %+v", got)
	}
	if steps[StepWrite] != int64(len(image)) || steps[StepRead] != int64(len(image)) {
		t.Errorf("progress ended at %v", steps)
	}
}

func TestTheSameUpdateTwice(t *testing.T) {
	image := testImage(1 << 20)
	if !bytes.Equal(testUpdate(t, image), testUpdate(t, image)) {
		t.Error("two updates of the same system differ")
	}
}

// While it is written, and after whatever went wrong, the slot has no boot
// sector; it gets one only when everything before it is on the medium.
func TestASlotIsWholeOrBootsNothing(t *testing.T) {
	pub, _ := testKeys(t)
	image := testImage(2 << 20)
	image[0] = 0xeb
	m := otherSlot()
	var none [SectorBytes]byte
	syncs := 0
	m.onSync = func() {
		syncs++
		bootable := !bytes.Equal(m.b[:SectorBytes], none[:])
		whole := bytes.Equal(m.b[SectorBytes:len(image)], image[SectorBytes:])
		if bootable && !whole {
			t.Error("half a system with a boot sector")
		}
	}
	if _, err := Apply(bytes.NewReader(testUpdate(t, image)), pub, BoardQemu, m, nil); err != nil {
		t.Fatal(err)
	}
	if syncs != 3 {
		t.Errorf("%d syncs: one before the slot changes, one before its boot sector, one after", syncs)
	}
}

func TestBrokenCards(t *testing.T) {
	pub, _ := testKeys(t)
	image := testImage(2 << 20)
	for name, c := range map[string]struct {
		spoil func(m *memory)
		want  error
	}{
		"first write": {func(m *memory) { m.failAt = 0 }, errBroken},
		"later write": {func(m *memory) { m.failAt = 1 << 20 }, errBroken},
		"sync":        {func(m *memory) { m.failSync = true }, errBroken},
		"flipped bit": {func(m *memory) { m.flip = 1<<20 + 77 }, ErrReadBack},
		"too short":   {func(m *memory) { m.b = m.b[:1<<20] }, nil},
	} {
		m := otherSlot()
		c.spoil(m)
		_, err := Apply(bytes.NewReader(testUpdate(t, image)), pub, BoardQemu, m, nil)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if name != "first write" && !bytes.Equal(m.b[:SectorBytes], make([]byte, SectorBytes)) {
			t.Errorf("%s: the slot still boots something", name)
		}
	}
}

// what of a refusal: nothing may have been written before signature and board
// were checked.
func TestRefusedBeforeAnythingIsWritten(t *testing.T) {
	pub, key := testKeys(t)
	image := testImage(1 << 20)
	good := testUpdate(t, image)
	other := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	head := len(updateMagic) + 4 + int(binary.BigEndian.Uint32(good[len(updateMagic):])) + ed25519.SignatureSize
	for name, c := range map[string]struct {
		file  []byte
		pub   ed25519.PublicKey
		board string
		want  error
	}{
		"another key":      {good, other.Public().(ed25519.PublicKey), BoardQemu, ErrSignature},
		"no key":           {good, nil, BoardQemu, ErrKey},
		"half a key":       {good, pub[:16], BoardQemu, ErrKey},
		"another board":    {good, pub, BoardPi, ErrBoard},
		"empty":            {nil, pub, BoardQemu, ErrTruncated},
		"something else":   {bytes.Repeat([]byte("hello"), 100), pub, BoardQemu, ErrNotUpdate},
		"cut in head":      {good[:head-1], pub, BoardQemu, ErrTruncated},
		"long manifest":    {append([]byte(updateMagic), 0xff, 0, 0, 0, 'x'), pub, BoardQemu, ErrManifest},
		"signed rubbish":   {sign(key, "{"), pub, BoardQemu, ErrManifest},
		"signed nothing":   {sign(key, "{}"), pub, BoardQemu, ErrManifest},
		"too large":        {sign(key, manifest(t, func(m *Manifest) { m.Bytes = SlotBytes + SectorBytes })), pub, BoardQemu, ErrManifest},
		"packed too large": {sign(key, manifest(t, func(m *Manifest) { m.PackedBytes = PackedBytesMax + 1 })), pub, BoardQemu, ErrManifest},
		"no sum":           {sign(key, manifest(t, func(m *Manifest) { m.SHA256 = "x" })), pub, BoardQemu, ErrManifest},
		"path in version":  {sign(key, manifest(t, func(m *Manifest) { m.Version = "../x" })), pub, BoardQemu, ErrManifest},
	} {
		m := otherSlot()
		if _, err := Apply(bytes.NewReader(c.file), c.pub, c.board, m, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if len(m.writes) > 0 {
			t.Errorf("%s: something was written", name)
		}
	}
}

// sign makes a head with any manifest.
func sign(key ed25519.PrivateKey, text string) []byte {
	b := binary.BigEndian.AppendUint32([]byte(updateMagic), uint32(len(text)))
	b = append(b, text...)
	return append(b, ed25519.Sign(key, b)...)
}

func manifest(t *testing.T, change func(m *Manifest)) string {
	m := Manifest{Release: testRelease, Bytes: SectorBytes, SHA256: sha256Hex(nil), PackedBytes: 10, PackedSHA256: sha256Hex(nil)}
	change(&m)
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// named says whether an error says what is wrong with the file.
func named(err error) bool {
	for _, e := range []error{ErrNotUpdate, ErrTruncated, ErrManifest, ErrSignature, ErrBoard, ErrDamaged} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Every cut and every flipped bit is an error with a name, and leaves no slot
// that boots.
func TestEveryCutAndEveryFlippedBit(t *testing.T) {
	pub, _ := testKeys(t)
	image := testImage(2 * SectorBytes)
	good := testUpdate(t, image)
	try := func(what string, at int, file []byte) {
		m := newMemory(8192)
		copy(m.b, "a system")
		_, err := Apply(bytes.NewReader(file), pub, BoardQemu, m, nil)
		if !named(err) {
			t.Errorf("%s %d: %v", what, at, err)
		}
		if len(m.writes) > 0 && !bytes.Equal(m.b[:SectorBytes], make([]byte, SectorBytes)) {
			t.Errorf("%s %d: the slot boots something", what, at)
		}
	}
	for at := range good {
		try("cut at", at, good[:at])
		b := bytes.Clone(good)
		b[at] ^= 1 << (at % 8)
		try("flipped bit in", at, b)
	}
	try("with a byte more, at", len(good), append(bytes.Clone(good), 0))
}

// A reader's own failure is its own, not the file's.
func TestAReaderThatFails(t *testing.T) {
	pub, _ := testKeys(t)
	good := testUpdate(t, testImage(1<<20))
	for _, at := range []int{0, 30, 1000, len(good) - 1} {
		m := otherSlot()
		r := io.MultiReader(bytes.NewReader(good[:at]), iotest.ErrReader(errBroken))
		if _, err := Apply(r, pub, BoardQemu, m, nil); !errors.Is(err, errBroken) || named(err) {
			t.Errorf("fails at %d: %v", at, err)
		}
	}
}

func TestTooLargeToBeWritten(t *testing.T) {
	_, key := testKeys(t)
	for n, image := range map[string][]byte{"too large": make([]byte, SlotBytes+SectorBytes), "no whole sector": make([]byte, 100), "empty": nil} {
		if _, err := WriteUpdate(io.Discard, key, testRelease, image); err == nil {
			t.Errorf("%s: an update was made", n)
		}
	}
}

func TestKeysReadAsWritten(t *testing.T) {
	pub, key := testKeys(t)
	if got, err := ParsePublic(EncodePublic(pub)); err != nil || !got.Equal(pub) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ParsePrivate("  " + EncodePrivate(key) + "\r\n"); err != nil || !got.Equal(key) {
		t.Error(err)
	}
	for _, text := range []string{"", "x", EncodePrivate(key), publicPrefix, publicPrefix + "AAAA", strings.TrimSpace(EncodePublic(pub)) + "AA"} {
		if _, err := ParsePublic(text); !errors.Is(err, ErrKey) || strings.Contains(err.Error(), "AAAA") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := ParsePrivate(EncodePublic(pub)); !errors.Is(err, ErrKey) {
		t.Errorf("the wrong half: %v", err)
	}
}

func FuzzApply(f *testing.F) {
	pub, key := testKeys(f)
	good := testUpdate(f, testImage(2*SectorBytes))
	f.Add(good, true)
	f.Add(good[:100], false)
	f.Add(sign(key, "{}"), true)
	f.Fuzz(func(t *testing.T, b []byte, resign bool) {
		if n := len(updateMagic) + 4; resign && len(b) > n {
			// Behind the signature there must be no panic either.
			size := int(min(binary.BigEndian.Uint32(b[n-4:n]), 4096, uint32(len(b)-n)))
			b = append(sign(key, string(b[n:n+size])), b[min(len(b), n+size+ed25519.SignatureSize):]...)
		}
		m := newMemory(64 << 10)
		if _, err := Apply(bytes.NewReader(b), pub, BoardQemu, m, nil); err != nil && len(m.writes) > 0 &&
			!bytes.Equal(m.b[:SectorBytes], make([]byte, SectorBytes)) {
			t.Errorf("%v, and the slot boots something", err)
		}
	})
}

func FuzzRelease(f *testing.F) {
	f.Add([]byte(`{"version":"v1","commit":"c","board":"pi","build":"b"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseRelease(b); err == nil && strings.ContainsAny(r.Version+r.Board, "/\\ \n") {
			t.Errorf("%+v", r)
		}
	})
}

func FuzzKeys(f *testing.F) {
	pub, key := testKeys(f)
	f.Add(EncodePublic(pub))
	f.Add(EncodePrivate(key))
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParsePublic(s); err == nil && EncodePublic(k) != strings.TrimSpace(s)+"\n" {
			t.Errorf("%q reads as another key", s)
		}
		if k, err := ParsePrivate(s); err == nil && EncodePrivate(k) != strings.TrimSpace(s)+"\n" {
			t.Errorf("%q reads as another key", s)
		}
	})
}
