package quorum

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"
)

func openTestStore(t *testing.T, dir string) *store {
	t.Helper()
	s, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	return s
}

func entry(i uint64) *raft.Log {
	return &raft.Log{Index: i, Term: i / 10, Type: raft.LogCommand, Data: fmt.Appendf(nil, "data of %d", i),
		Extensions: []byte("ext")[:i%4], AppendedAt: time.Unix(0, int64(i))}
}

func TestStoreKeepsLogs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTestStore(t, dir)
	var logs []*raft.Log
	for i := uint64(1); i <= 300; i++ {
		logs = append(logs, entry(i))
	}
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteRange(200, 300); err != nil { // raft cuts the end off
		t.Fatal(err)
	}
	if err := s.StoreLog(entry(200)); err != nil {
		t.Fatal(err)
	}
	snap := writeSnapshot(t, s, 100, "image")
	if err := s.DeleteRange(1, 80); err != nil {
		t.Fatal(err)
	}
	s.close()
	s = openTestStore(t, dir)
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	if first != 81 || last != 200 {
		t.Fatalf("log is %d to %d", first, last)
	}
	for i := first; i <= last; i++ {
		var got raft.Log
		want := entry(i)
		if err := s.GetLog(i, &got); err != nil || got.Term != want.Term || !bytes.Equal(got.Data, want.Data) ||
			!bytes.Equal(got.Extensions, want.Extensions) || !got.AppendedAt.Equal(want.AppendedAt) {
			t.Fatalf("entry %d: %+v, %v", i, got, err)
		}
	}
	if err := s.GetLog(80, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("entry 80: %v", err)
	}
	if list, err := (snapshots{s}).List(); err != nil || len(list) != 1 || list[0].ID != snap {
		t.Errorf("snapshots: %v, %v", list, err)
	}
}

func writeSnapshot(t *testing.T, s *store, index uint64, data string) string {
	t.Helper()
	sink, err := (snapshots{s}).Create(1, index, 1, configurationOf([]Server{{"a", "a:1", true}, {"b", "b:1", false}}), 1, nil)
	if err == nil {
		_, err = sink.Write([]byte(data))
	}
	if err == nil {
		err = sink.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return sink.ID()
}

func TestStoreKeepsTwoSnapshots(t *testing.T) {
	t.Parallel()
	s := openTestStore(t, t.TempDir())
	for i := uint64(1); i <= 5; i++ {
		writeSnapshot(t, s, i, fmt.Sprint("image ", i))
	}
	cancelled, _ := (snapshots{s}).Create(1, 6, 1, raft.Configuration{}, 1, nil)
	cancelled.Write([]byte("half"))
	cancelled.Cancel()
	list, err := (snapshots{s}).List()
	if err != nil || len(list) != 2 || list[0].Index != 5 || list[1].Index != 4 {
		t.Fatalf("%v, %v", list, err)
	}
	meta, r, err := (snapshots{s}).Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.ReadFrom(r)
	if b.String() != "image 5" || len(meta.Configuration.Servers) != 2 || meta.Configuration.Servers[1].Suffrage != raft.Nonvoter {
		t.Errorf("%q, %+v", &b, meta)
	}
}

func TestStoreKeepsTermAndVote(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir)
	if v, err := s.GetUint64([]byte("CurrentTerm")); v != 0 || err != nil {
		t.Errorf("a term before there is one: %d, %v", v, err)
	}
	s.SetUint64([]byte("CurrentTerm"), 7)
	s.Set([]byte("LastVoteCand"), []byte("b@b:1"))
	s.close()
	s = openTestStore(t, dir)
	term, err := s.GetUint64([]byte("CurrentTerm"))
	vote, verr := s.Get([]byte("LastVoteCand"))
	if term != 7 || string(vote) != "b@b:1" || err != nil || verr != nil {
		t.Errorf("%d %q %v %v", term, vote, err, verr)
	}
}

func TestStoreInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openTestStore(t, dir)
	if _, err := openStore(dir); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
}

// Whatever flash makes of the file, it is said, and the process lives.
func TestStoreDamaged(t *testing.T) {
	t.Parallel()
	whole := t.TempDir()
	s := openTestStore(t, whole)
	for i := uint64(1); i <= 200; i++ {
		s.StoreLog(entry(i))
	}
	writeSnapshot(t, s, 50, strings.Repeat("image", 3000))
	s.SetUint64([]byte("CurrentTerm"), 7)
	s.close()
	file, err := os.ReadFile(filepath.Join(whole, FileName))
	if err != nil {
		t.Fatal(err)
	}
	open := func(t *testing.T, b []byte) error {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openStore(dir)
		if err == nil {
			s.close()
		}
		return err
	}
	for name, b := range map[string][]byte{
		"empty":     {},
		"one page":  file[:4096],
		"two pages": file[:8192],
		"cut off":   file[:5*4096],
		"noise":     bytes.Repeat([]byte("noise!"), 5000),
		"no data":   append(bytes.Clone(file[:8192]), make([]byte, len(file)-8192)...),
	} {
		t.Run(name, func(t *testing.T) {
			if err := open(t, b); err == nil {
				t.Error("opened")
			}
		})
	}
	found := 0
	for page := 2; page < 32; page++ {
		b := bytes.Clone(file)
		b[page*4096+2000] ^= 0x10
		if open(t, b) != nil {
			found++
		}
		clear(b[page*4096 : (page+1)*4096])
		open(t, b)
	}
	if found == 0 {
		t.Error("no flipped bit was found")
	}
	t.Logf("%d pages matter", found)
}

func TestStoreFindsGaps(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir)
	s.StoreLogs([]*raft.Log{entry(1), entry(2), entry(3)})
	s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketLog).Delete(logKey(2)) })
	s.close()
	if _, err := openStore(dir); !errors.Is(err, errDamaged) {
		t.Errorf("a gap: %v", err)
	}
}

// A file that was being made when power went is made again.
func TestStoreHalfMade(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName+".tmp"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	openTestStore(t, dir)
}

// Raft would end the process when the term can't be kept.
func TestTermWaitsForFlash(t *testing.T) {
	t.Parallel()
	s := openTestStore(t, t.TempDir())
	s.db.Close() // writes fail from now on
	if err := s.StoreLog(entry(1)); err == nil || s.failure.Load() == nil {
		t.Fatalf("%v", err)
	}
	done := make(chan error)
	go func() { done <- s.SetUint64(keyTerm, 7) }()
	select {
	case err := <-done:
		t.Fatalf("raft was told: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	s.giveUp()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
