package quorum

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"reflect"
	"testing"

	"github.com/hashicorp/raft"

	"cistern/gossip/controller"
	"cistern/gossip/metadata"
)

func testMachine() *machine { return newMachine(nil, &watchers{}, slog.New(slog.DiscardHandler)) }

func testImage() *metadata.Image {
	img := metadata.NewImage()
	for i, c := range []metadata.Change{
		{Form: &metadata.Form{Site: "x"}},
		{Register: &metadata.Register{Name: "a", Address: "a:1", Weight: 1, StoreID: "s", StoreIncarnation: 1}},
		putStream("one"), putStream("two"),
	} {
		img, _ = controller.Apply(img, uint64(i+1), c)
	}
	img.Drains[metadata.PartitionID{Stream: "two", Partition: 0}] = metadata.Drain{LeaderEpoch: 3, Cursor: []byte("c")}
	img.Sources["broker"] = 1
	return img
}

func TestImageSurvivesSnapshot(t *testing.T) {
	img := testImage()
	b, err := encodeImage(img)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeImage(b)
	if err != nil || !reflect.DeepEqual(got, img) {
		t.Fatalf("%v\n%+v\n%+v", err, got, img)
	}
	again, _ := encodeImage(got)
	if !bytes.Equal(b, again) {
		t.Error("the same image in other bytes")
	}
}

// A snapshot says version 1 for as long as a gateway of that version reads all
// of it, and what such a gateway wrote is read.
func TestImageOfOldGateways(t *testing.T) {
	img, two := testImage(), metadata.PartitionID{Stream: "two"}
	b, _ := encodeImage(img)
	old, _ := decodeImage(b)
	if b[0] != 1 || bytes.Contains(b, []byte("Clocks")) || old.Drains[two].Node != 0 || string(old.Drains[two].Cursor) != "c" {
		t.Errorf("version %d: %+v", b[0], old.Drains)
	}
	img.Clocks["boot"] = metadata.Clock{Node: 1, BootAt: 5, Index: 3}
	img.Drains[two] = metadata.Drain{LeaderEpoch: 3, Cursor: []byte("c"), Node: 1, Epoch: 7, Seq: 9}
	b, _ = encodeImage(img)
	if got, err := decodeImage(b); err != nil || b[0] != imageVersion || !reflect.DeepEqual(got, img) {
		t.Errorf("version %d: %v, %+v", b[0], err, got)
	}
}

// Scenario 39: what a newer gateway wrote is refused, not misread.
func TestNewerVersions(t *testing.T) {
	img, _ := encodeImage(testImage())
	img[0] = imageVersion + 1
	if err := testMachine().Restore(io.NopCloser(bytes.NewReader(img))); !errors.Is(err, errNewer) {
		t.Errorf("a newer snapshot: %v", err)
	}

	form, _ := encodeChange(metadata.Change{Form: &metadata.Form{Site: "x"}})
	newer := bytes.Clone(form)
	newer[0] = changeVersion + 1
	unknown, _ := encode(changeVersion, map[string]any{"at": 1, "newkind": map[string]any{"x": 1}})
	for name, b := range map[string][]byte{"version": newer, "kind": unknown} {
		m := testMachine()
		m.Apply(&raft.Log{Index: 1, Data: form})
		r := m.Apply(&raft.Log{Index: 2, Data: b}).(metadata.Result)
		if r.Err() == nil || m.behind.Load() == nil {
			t.Errorf("a newer %s: %+v", name, r)
		}
		m.Apply(&raft.Log{Index: 3, Data: form})
		if i := m.image.Load().Index; i != 1 {
			t.Errorf("a newer %s: the image went on to %d", name, i)
		}
		if _, err := m.Snapshot(); err == nil {
			t.Errorf("a newer %s: a snapshot would lose it", name)
		}
	}
}

// What nobody understands is refused by all alike, and counted.
func TestUnreadableChange(t *testing.T) {
	m := testMachine()
	for i, b := range [][]byte{nil, {0}, {changeVersion}, {changeVersion, 0xc1}, []byte("\x01\x81\xa2at\xa1x"), bytes.Repeat([]byte{1}, 100)} {
		r := m.Apply(&raft.Log{Index: uint64(i + 1), Data: b}).(metadata.Result)
		if !errors.Is(r.Err(), metadata.ErrInvalid) || m.image.Load().Index != uint64(i+1) || m.refused.Load() != int64(i+1) {
			t.Errorf("%x: %+v, refused %d", b, r, m.refused.Load())
		}
	}
}

func TestChangeNeedsOneKind(t *testing.T) {
	for _, c := range []metadata.Change{{}, {Form: &metadata.Form{}, Fence: &metadata.Fence{}}} {
		if _, err := encodeChange(c); !errors.Is(err, metadata.ErrInvalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	big := metadata.Change{PutDrain: &metadata.PutDrain{Cursor: make([]byte, ChangeBytesMax)}}
	if _, err := encodeChange(big); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	// A kind that was added to metadata.Change has to be known to hasKind.
	v := reflect.ValueOf(&metadata.Change{}).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer {
			f.Set(reflect.New(f.Type().Elem()))
			if !hasKind(v.Interface().(metadata.Change)) {
				t.Errorf("%s is no kind", v.Type().Field(i).Name)
			}
			f.SetZero()
		}
	}
}

func FuzzFrames(f *testing.F) {
	var b bytes.Buffer
	writeFrame(&b, &request{ID: 1, Kind: kindPropose, Change: []byte("x"), WaitMS: 5})
	writeFrame(&b, &answer{ID: 1, Result: &metadata.Result{Index: 3, Partition: &metadata.PartitionState{ISR: []metadata.NodeID{1}}}})
	f.Add(b.Bytes())
	b.Reset()
	writeFrame(&b, &request{ID: 2, Kind: kindInvite, Invite: &promise{Inviter: "a", Members: []string{"a", "b"}}})
	f.Add(b.Bytes())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		for {
			var r request
			if readFrame(in, &r) != nil {
				break
			}
			decodeChange(r.Change)
		}
		in = bytes.NewReader(b)
		var a answer
		for readFrame(in, &a) == nil {
		}
		if len(b) > 0 {
			m := testMachine()
			m.Apply(&raft.Log{Index: 1, Data: b})
			m.Restore(io.NopCloser(bytes.NewReader(b)))
			checkConfiguration(b)
			decodeEntry(1, b, new(raft.Log))
			decodeSnapshotRecord([]byte("k"), b)
			decodeEntry(1, seal(logKey(1), b), new(raft.Log))
			decodeSnapshotRecord([]byte("k"), seal([]byte("k"), b))
		}
	})
}

// What raft would panic on does not reach it.
func TestGate(t *testing.T) {
	voted := ""
	g := &transport{mayVote: func(c string) bool { voted = c; return c == "friend" }}
	good := raft.EncodeConfiguration(configurationOf([]Server{{"a", "a:1", true}}))
	for _, c := range []struct {
		what    string
		command any
		refused bool
	}{
		{"a vote", &raft.RequestVoteRequest{RPCHeader: raft.RPCHeader{ID: []byte("friend")}}, false},
		{"a vote for a stranger", &raft.RequestVoteRequest{RPCHeader: raft.RPCHeader{ID: []byte("x")}}, true},
		{"a pre-vote for a stranger", &raft.RequestPreVoteRequest{RPCHeader: raft.RPCHeader{ID: []byte("x")}}, true},
		{"a change", &raft.AppendEntriesRequest{Entries: []*raft.Log{{Type: raft.LogCommand}}}, false},
		{"a configuration", &raft.AppendEntriesRequest{Entries: []*raft.Log{{Type: raft.LogConfiguration, Data: good}}}, false},
		{"a broken configuration", &raft.AppendEntriesRequest{Entries: []*raft.Log{{Type: raft.LogConfiguration, Data: []byte{0xc1}}}}, true},
		{"an unknown type", &raft.AppendEntriesRequest{Entries: []*raft.Log{{Type: 99}}}, true},
		{"a snapshot", &raft.InstallSnapshotRequest{Configuration: good}, false},
		{"a broken snapshot", &raft.InstallSnapshotRequest{Configuration: []byte("x")}, true},
	} {
		answers := make(chan raft.RPCResponse, 1)
		rpc := raft.RPC{Command: c.command, RespChan: answers, Reader: bytes.NewReader(nil)}
		if g.refuses(&rpc) != c.refused || len(answers) == 1 != c.refused {
			t.Errorf("%s: %d answers", c.what, len(answers))
		}
	}
	if voted != "x" {
		t.Errorf("asked about %q", voted)
	}
}
