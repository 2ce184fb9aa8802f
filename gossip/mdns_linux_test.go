package gossip

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cistern/gossip/sitekey"
)

func init() { childMain = mdnsChild }

// Gateways of one site find each other by mDNS; one of another site does not
// join them. It runs in a network namespace of its own, where nobody listens.
func TestMDNS(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ip"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root and ip(8), for a network namespace")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=mdns")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("no network namespace here: %v", err)
	}
	if err != nil || !strings.HasSuffix(string(out), "found each other\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	// Whatever else is there was written by a library, unasked.
	if got := strings.Count(string(out), "\n"); got != 1 {
		t.Errorf("it also said:\n%s", out)
	}
}

func mdnsChild() int {
	for _, args := range []string{"link set lo up", "link add lan0 type veth peer name lan1", "addr add 10.99.0.1/24 dev lan0",
		"addr add 10.99.0.2/24 dev lan0", "addr add 10.99.0.3/24 dev lan0", "link set lan0 up", "link set lan1 up",
		"route add 224.0.0.0/4 dev lan0"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			fmt.Printf("ip %s: %v: %s\n", args, err, out)
			return 1
		}
	}
	var t testing.T // for its Helper; failures end in the time-out below
	key, other := sitekey.Key{1}, sitekey.Key{2}
	a := start(&t, Config{Name: "a", Bind: "10.99.0.1:7946", Key: key, MDNS: true, Site: "shed"})
	b := start(&t, Config{Name: "b.2", Bind: "10.99.0.2:7946", Key: key, MDNS: true})
	z := start(&t, Config{Name: "z", Bind: "10.99.0.3:7946", Key: other, MDNS: true})
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		_, ab := a.roster.get("b.2")
		_, ba := b.roster.get("a")
		if ab && ba {
			break
		}
		if time.Now().After(end) {
			fmt.Printf("in vain: a found %v, b found %v\n", a.neighbors.list(), b.neighbors.list())
			return 1
		}
	}
	found := z.neighbors.list()
	if len(z.Members()) != 1 || slices.ContainsFunc(found, func(x netip.AddrPort) bool { return !z.isSelf(x) }) {
		fmt.Printf("z found %v\n", found)
		return 1
	}
	a.stop()
	b.stop()
	z.stop()
	fmt.Println("found each other")
	return 0
}
