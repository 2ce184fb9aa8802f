package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"cistern/agent/status"
	"cistern/firmware/board"
	"cistern/gossip/quorum"
)

// fakeBoard is a board in the test's hand.
type fakeBoard struct {
	events chan board.Event

	mu     sync.Mutex
	shown  []board.Pattern
	closed bool
}

func (f *fakeBoard) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (f *fakeBoard) Events() <-chan board.Event    { return f.events }
func (f *fakeBoard) Problems() []board.Problem     { return nil }

func (f *fakeBoard) Show(p board.Pattern) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.shown); n == 0 || f.shown[n-1] != p {
		f.shown = append(f.shown, p)
	}
}

func (f *fakeBoard) Shown() board.Pattern {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.shown) == 0 {
		return board.Dark
	}
	return f.shown[len(f.shown)-1]
}

func (f *fakeBoard) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

// fakeMachine is an image's first process.
type fakeMachine struct {
	off  chan struct{}
	fail error
}

func (f *fakeMachine) Poweroff(ctx context.Context) error {
	select {
	case f.off <- struct{}{}:
		return f.fail
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lived is a gateway's life under test.
type lived struct {
	*testing.T
	*life
	hands *fakeBoard
	stop  func() error // asks for the end, and returns what run did
}

func live(t *testing.T, toml string, m *fakeMachine) *lived {
	t.Helper()
	f := &fakeBoard{events: make(chan board.Event)}
	l := &life{config: newAgent(t, toml).config, version: "test", log: slog.New(slog.DiscardHandler), board: f}
	if m != nil {
		l.machine = m
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
		if !f.closed {
			t.Error("the board was not let go")
		}
	})
	return &lived{t, l, f, stop}
}

func (l *lived) tell(k board.EventKind) time.Time {
	l.Helper()
	e := board.Event{Kind: k, At: time.Now()}
	select {
	case l.hands.events <- e:
	case <-time.After(patience):
		l.Fatalf("nobody hears %q", k)
	}
	return e.At
}

// up returns the status once devices are let in.
func (l *lived) up() (d *status.Document) {
	l.Helper()
	socket, err := l.config.SocketPath()
	if err != nil {
		l.Fatal(err)
	}
	await(l.T, "the gateway is up", func() bool {
		d, err = status.NewClient(socket).Status(l.Context())
		return err == nil && len(d.MQTT.Listeners) > 0 && d.Board != nil
	})
	return d
}

func (l *lived) shows(p board.Pattern) {
	l.Helper()
	await(l.T, "the LED shows "+p.String(), func() bool { return l.hands.Shown() == p })
}

// device publishes until the gateway takes no more, and returns what was
// confirmed.
func device(t *testing.T, address, name string, confirmed func()) []string {
	client := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID(name).SetAutoReconnect(false))
	if token := client.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Errorf("%s: connect: %v", name, token.Error())
		return nil
	}
	defer client.Disconnect(0)
	var mine []string
	for n := 0; ; n++ {
		value := fmt.Sprintf("%s-%d", name, n)
		token := client.Publish("plant/"+name, 1, false, value)
		if !token.WaitTimeout(patience) || token.Error() != nil || !client.IsConnectionOpen() {
			return mine // whether this one was confirmed is not known to a device
		}
		mine = append(mine, value)
		confirmed()
	}
}

// inTime repeats a cycle, in which the power fails and is back, until the gateway was
// as quick as it has to be: a machine that stands still meanwhile proves nothing. All
// else that the cycle looks at has to be so each time.
func inTime(t *testing.T, limit time.Duration, cycle func(n int) (took time.Duration)) {
	t.Helper()
	for n := range 5 {
		took := cycle(n)
		t.Logf("clean after %s", took)
		if took <= limit {
			return
		}
	}
	t.Errorf("never clean within %s; a UPS may not last longer", limit)
}

// When the power goes in the midst of it all, the gateway is clean within moments:
// what was confirmed, before the line told and after, is there, and the next start
// has nothing to clear up. When the power is back, it starts again by itself.
func TestPowerFails(t *testing.T) {
	l := live(t, "", nil)
	var confirmed []string
	want := []board.Pattern{board.OK}
	inTime(t, powerPartMax+powerCommitMax+powerStoreMax, func(n int) time.Duration {
		one, edge, took := l.failBusy(t, n)
		confirmed = append(confirmed, one...)
		want = append(want, board.ShuttingDown, board.SafeToCut, board.OK)
		there := recovered(t, l)
		for _, value := range confirmed {
			if !there[value] {
				t.Errorf("%s was confirmed and is not there", value)
			}
		}
		l.tell(board.PowerBack)
		d := l.up()
		if p := d.Board.PowerFail; p == nil || !p.Clean || p.CleanSeconds <= 0 || p.CleanSeconds > took.Seconds() || !p.At.Equal(edge) {
			t.Errorf("the status has %+v of it", p)
		}
		l.shows(board.OK)
		if !slices.Equal(l.patterns(), want) {
			t.Errorf("the LED showed %v, want %v", l.patterns(), want)
		}
		return took
	})
	if err := l.stop(); err != nil {
		t.Error(err)
	}
}

// failBusy has the power fail while devices publish, and returns what was confirmed
// to them once the gateway is clean.
func (l *lived) failBusy(t *testing.T, cycle int) (confirmed []string, edge time.Time, took time.Duration) {
	address := l.up().MQTT.Listeners[0].Address
	const devices, busy = 4, 200
	under, enough := make(chan struct{}, devices*busy), make(chan struct{})
	go func() {
		for range busy {
			<-under
		}
		close(enough)
	}()
	var all sync.WaitGroup
	each := make([][]string, devices)
	for i := range devices {
		all.Go(func() {
			each[i] = device(t, address, fmt.Sprintf("d%d-%d", cycle, i), func() {
				select {
				case under <- struct{}{}:
				default:
				}
			})
		})
	}
	<-enough
	edge = l.tell(board.PowerFailed)
	l.shows(board.SafeToCut)
	took = time.Since(edge)
	all.Wait()
	if confirmed = slices.Concat(each...); len(confirmed) < busy {
		t.Errorf("only %d records were confirmed", len(confirmed))
	}
	return confirmed, edge, took
}

// A device that does not hear that the gateway goes holds nobody up: neither the
// clean stop, nor the next start, which comes when the last of it has ended.
func TestPowerFailsBesideADeafDevice(t *testing.T) {
	l := live(t, "", nil)
	inTime(t, powerPartMax+powerCommitMax, func(n int) time.Duration {
		c, err := net.Dial("tcp", l.up().MQTT.Listeners[0].Address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01d")); err != nil { // CONNECT
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 4)); err != nil { // CONNACK
			t.Fatal(err)
		}
		edge := l.tell(board.PowerFailed)
		l.tell(board.PowerBack)
		await(t, "it was clean", func() bool { return l.timesClean() > n })
		took := time.Since(edge)
		await(t, "it is back", func() bool { return l.hands.Shown() == board.OK })
		if p := l.up().Board.PowerFail; p == nil || !p.Clean || !p.At.Equal(edge) {
			t.Errorf("%+v", p)
		}
		return took
	})
}

// timesClean is how often the LED has said that the power may be cut.
func (l *lived) timesClean() (n int) {
	for _, p := range l.patterns() {
		if p == board.SafeToCut {
			n++
		}
	}
	return n
}

// recovered opens the data of a gateway that rests, as the next process would, and
// returns the records.
func recovered(t *testing.T, l *lived) map[string]bool {
	t.Helper()
	a := New(l.config, "test", l.log)
	if err := a.open(); err != nil {
		t.Fatalf("the data is not free: %v", err)
	}
	defer func() {
		if err := a.close(); err != nil {
			t.Error(err)
		}
	}()
	if o := a.store.Opened(); !o.Clean || o.Damaged > 0 {
		t.Errorf("not a clean stop: %+v", o)
	}
	there := map[string]bool{}
	err := a.Tail(t.Context(), status.TailQuery{Filter: "#", Beginning: true}, func(r *status.TailRecord) error {
		there[*r.Value] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return there
}

// A gateway that is started without power from outside stops at once, and whoever
// stops it meanwhile gets a clean end.
func TestNoPowerAtTheStart(t *testing.T) {
	said := manager(t)
	l := live(t, "", nil)
	l.tell(board.PowerFailed)
	l.shows(board.SafeToCut)
	for word := ""; !strings.HasPrefix(word, "READY=1\nSTATUS=stopped: there is no power"); word = said() {
		if word == "STOPPING=1" {
			t.Error("the service manager was told of a stop, and the process goes on")
		}
	}
	if err := l.stop(); err != nil {
		t.Error(err)
	}
	if l.hands.Shown() != board.SafeToCut {
		t.Errorf("the LED shows %s", l.hands.Shown())
	}
}

// An image is switched off when there is still no power after off_after.
func TestPoweroffAfterPowerFailed(t *testing.T) {
	m := &fakeMachine{off: make(chan struct{})}
	l := live(t, "[board.power_fail]\nchip = ''\noff_after = '20ms'\n", m)
	l.up()
	l.tell(board.PowerFailed)
	select {
	case <-m.off:
	case <-time.After(patience):
		t.Fatal("never switched off")
	}
	if shown := l.hands.Shown(); shown != board.SafeToCut {
		t.Errorf("switched off while the LED shows %s", shown)
	}
	l.tell(board.PowerBack) // it was quicker than the machine
	l.up()
}

// Power that is back in time keeps an image on.
func TestPowerIsBackInTime(t *testing.T) {
	m := &fakeMachine{off: make(chan struct{}, 1)}
	l := live(t, "[board.power_fail]\nchip = ''\noff_after = '1h'\n", m)
	l.up()
	l.tell(board.PowerFailed)
	l.tell(board.PowerBack)
	await(t, "it stopped", func() bool { return slices.Contains(l.patterns(), board.SafeToCut) })
	l.up()
	if len(m.off) > 0 {
		t.Error("switched off")
	}
}

func (l *lived) patterns() []board.Pattern {
	l.hands.mu.Lock()
	defer l.hands.mu.Unlock()
	return slices.Clone(l.hands.shown)
}

// The button stops the gateway, and starts it where the machine stays on.
func TestButton(t *testing.T) {
	l := live(t, "", nil)
	l.up()
	l.tell(board.ButtonHeld)
	l.shows(board.SafeToCut)
	recovered(t, l)
	// Power that goes and comes changes nothing about what somebody ordered; power
	// that is away keeps it down, whatever is ordered.
	l.tell(board.PowerFailed)
	l.tell(board.PowerBack)
	l.tell(board.PowerFailed)
	l.tell(board.ButtonHeld)
	l.shows(board.SafeToCut)
	recovered(t, l)
	l.tell(board.PowerBack)
	if d := l.up(); d.Board.PowerFail != nil {
		t.Errorf("a stop by the button counts as %+v", d.Board.PowerFail)
	}
}

// On an image the button switches the machine off, and is tried again when that
// fails.
func TestButtonOfAnImage(t *testing.T) {
	m := &fakeMachine{off: make(chan struct{}), fail: errors.New("busy")}
	l := live(t, "", m)
	l.up()
	l.tell(board.ButtonHeld)
	<-m.off
	l.shows(board.SafeToCut)
}

// A stop that failed is shown as one, and ends in a new process.
func TestStopThatFails(t *testing.T) {
	f := &fakeBoard{events: make(chan board.Event, 1)}
	l := &life{config: newAgent(t, "").config, log: slog.New(slog.DiscardHandler), board: f, away: true}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.rest(t.Context(), errors.New("the card hangs"))
	}()
	await(t, "the LED shows it", func() bool { return f.Shown() == board.Failing })
	f.events <- board.Event{Kind: board.PowerBack}
	<-ended

	left := &part{name: "mqtt", done: make(chan struct{})}
	a := newAgent(t, "")
	a.left = []*part{left}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.settled(over); err != nil {
		t.Errorf("who is asked to stop waits for nobody: %v", err)
	}
	close(left.done)
	if err := a.settled(t.Context()); err != nil {
		t.Error(err)
	}
	a.site = &site{a: a}
	a.site.raftStays.Store(true)
	if err := a.settled(t.Context()); !errors.Is(err, quorum.ErrNotEnded) {
		t.Errorf("another agent would start beside raft: %v", err)
	}
}

// What is not there is a warning, and the gateway runs.
func TestNothingIsThere(t *testing.T) {
	c := newAgent(t, `
[board]
watchdog = "/nonexistent/watchdog"
power_fail = { chip = "nonexistent", line = 4 }
button = { chip = "nonexistent", line = 5 }
led = { name = "nonexistent" }
`).config
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c, "test", slog.New(slog.DiscardHandler)) }()
	l := &lived{T: t, life: &life{config: c}}
	l.up()
	var active []string
	await(t, "all four are told", func() bool {
		d := l.up()
		active = nil
		for _, w := range d.Health {
			if w.Code == status.BoardPart {
				active = append(active, w.Detail)
			}
		}
		return len(d.Board.Problems) == 4 && len(active) == 1
	})
	for _, part := range []string{"power fail: ", "button: ", "led: ", "watchdog: "} {
		if !strings.Contains(active[0], part) {
			t.Errorf("%q says nothing of the %s", active[0], part)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A stop takes half a minute when a site has to choose other leaders, and the watch
// goes on meanwhile. Who held the button must see that it counts.
func TestLightWhileItStops(t *testing.T) {
	f := &fakeBoard{}
	a := newAgent(t, "")
	a.life = &life{board: f}
	a.light.is(a.life, board.OK)
	a.light.out(a.life)
	a.light.is(a.life, board.OK)
	if want := []board.Pattern{board.OK, board.ShuttingDown}; !slices.Equal(f.shown, want) {
		t.Errorf("it showed %v, want %v", f.shown, want)
	}
}

func TestPatternOf(t *testing.T) {
	active := func(codes ...status.Code) *status.Document {
		d := &status.Document{Gateway: status.Gateway{Name: "g1"}}
		for _, c := range codes {
			w, _ := status.Lookup(c)
			d.Health = append(d.Health, status.Active{Warning: w})
		}
		return d
	}
	copyOf := func(role string, isr ...string) *status.Document {
		d := active()
		p := status.Partition{Replication: status.Replication{Role: role, ISR: isr}}
		d.Streams = []status.Stream{{Partitions: []status.Partition{p}}}
		return d
	}
	for _, test := range []struct {
		d    *status.Document
		want board.Pattern
	}{
		{active(), board.OK},
		{active(status.ClockUnsynced, status.NoUplinkConfigured, status.UnderReplicated), board.OK},
		{active(status.UplinkDown), board.NoUplink},
		{active(status.RecordsParked, status.UplinkDown), board.Parked},
		{active(status.DiskNearlyFull, status.RecordsParked), board.DiskNearFull},
		{active(status.GatewayFenced, status.DiskNearlyFull), board.NotInSync},
		{active(status.StoreLatched, status.GatewayFenced), board.Failing},
		{copyOf(status.RoleFollower, "g0", "g1"), board.OK},
		{copyOf(status.RoleFollower, "g0"), board.NotInSync},
		{copyOf(status.RoleLeader, "g1"), board.OK},
		{copyOf("", "g0"), board.OK},
	} {
		if got := patternOf(test.d); got != test.want {
			t.Errorf("%v: %s, want %s", test.d.Health, got, test.want)
		}
	}
	for code := range signals {
		if _, ok := status.Lookup(code); !ok {
			t.Errorf("there is no %s", code)
		}
	}
}

// remembered is a State of the test's own.
type remembered map[string][]byte

func (r remembered) Get(key string) []byte        { return r[key] }
func (r remembered) Put(key string, value []byte) { r[key] = value }

// What is written to a card is counted over restarts and boots; another card
// begins anew, and the old one goes on when it comes back. Nothing is put while
// nothing is written.
func TestWearIsCounted(t *testing.T) {
	root, state := t.TempDir(), remembered{}
	place := func(path, text string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write := os.WriteFile(path, []byte(text+"\n"), 0o644)
		if write != nil {
			t.Fatal(write)
		}
	}
	const one, other = "9f54490000000000b2c3d4e5f6012345", "0353445343313647800a1b2c3d013a77"
	place("sys/block/mmcblk0/size", "62333952")
	place("sys/block/mmcblk0/device/type", "SD")
	var l *looks
	for i, step := range []struct {
		boot, cid string
		sectors   int
		restart   bool
		want      int64
	}{
		{"1", one, 10, true, 10}, {"1", one, 10, false, 10}, {"1", one, 30, false, 30}, {"1", one, 50, true, 50},
		{"2", one, 7, true, 57}, {"2", other, 3, false, 3}, {"2", one, 4, false, 61}, {"", one, 9, false, 61},
	} {
		if step.restart {
			l = &looks{root: root}
		}
		place("proc/sys/kernel/random/boot_id", step.boot)
		place("sys/block/mmcblk0/device/cid", step.cid)
		place("sys/block/mmcblk0/stat", fmt.Sprintf("0 0 0 0 0 0 %d 0 0 0 0", step.sectors))
		before := fmt.Sprint(state)
		l.look(state, nil, journalWrites{})
		b := l.seen()
		if len(b.Disks) != 1 || b.Disks[0].WrittenEver != step.want*512 {
			t.Fatalf("step %d: %+v, want %d sectors", i, b.Disks, step.want)
		}
		if i == 1 && fmt.Sprint(state) != before {
			t.Error("something was put although nothing was written")
		}
	}
	state["wear/cid-"+one] = []byte("no JSON")
	place("proc/sys/kernel/random/boot_id", "3")
	if l.look(state, nil, journalWrites{}); l.seen().Disks[0].WrittenEver != 9*512 {
		t.Errorf("behind a count that can't be read: %+v", l.seen().Disks)
	}
}

// fed counts what a hardware watchdog got.
type fed struct {
	feeds  chan struct{}
	err    error
	closed bool
}

func (f *fed) Feed() error {
	select {
	case f.feeds <- struct{}{}:
	default:
	}
	return f.err
}
func (f *fed) Close() error { f.closed = true; return nil }

// A hardware watchdog gets the signs of life of the agent, also where no service
// manager waits for any, and is stopped at the end.
func TestChipIsFed(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "")
	f := &fed{feeds: make(chan struct{}, 3), err: errors.New("no such device")}
	c := &chip{log: slog.New(slog.DiscardHandler), timeout: 2 * time.Second, feeder: f}
	w := newWatchdog(func(string) error { t.Error("nobody else waits"); return nil }, c, c.log)
	if w == nil || w.every > c.timeout/2 {
		t.Fatalf("%+v does for none of %s", w, c.timeout)
	}
	w.enter(resting)
	go w.run()
	<-f.feeds
	w.close()
	if p := c.problem(); p != "watchdog: no such device" {
		t.Errorf("problem %q", p)
	}
	if c.close(); !f.closed {
		t.Error("it still counts")
	}
	var none *chip
	none.feed()
	none.close()
	if none.problem() != "" || newWatchdog(notify, none, c.log) != nil {
		t.Error("there is no watchdog, and it does something")
	}
}
