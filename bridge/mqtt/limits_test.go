package mqtt

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRateLimiter(t *testing.T) {
	l := &rateLimiter{rate: 10, burst: 3, buckets: map[netip.Addr]*bucket{}}
	now := time.Unix(1000, 0)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range 3 {
		if !l.allow(a, now) {
			t.Fatalf("connect %d of the burst was refused", i)
		}
	}
	if l.allow(a, now) {
		t.Error("a fourth connect at once was allowed")
	}
	if !l.allow(b, now) {
		t.Error("another address pays for the first")
	}
	if !l.allow(a, now.Add(100*time.Millisecond)) || l.allow(a, now.Add(100*time.Millisecond)) {
		t.Error("one more should be allowed after a tenth of a second")
	}
	x, y := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	for range 3 {
		l.allow(x, now)
	}
	if l.allow(y, now) {
		t.Error("one IPv6 /64 has many buckets")
	}
}

func TestRateLimiterForgets(t *testing.T) {
	l := &rateLimiter{rate: 10, burst: 3, buckets: map[netip.Addr]*bucket{}}
	now := time.Unix(1000, 0)
	addr := netip.MustParseAddr("10.0.0.0")
	for range 3 * rateAddressesMax {
		addr = addr.Next()
		l.allow(addr, now)
	}
	if len(l.buckets) > rateAddressesMax {
		t.Errorf("%d addresses are remembered", len(l.buckets))
	}
}

func TestCalmLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		c := &calmLog{log: slog.New(slog.NewTextHandler(&out, nil)), kinds: map[string]*calmKind{}}
		for i := range 100 {
			c.warn("it happened", "i", i)
			c.warn("something else")
		}
		time.Sleep(calmInterval)
		c.warn("it happened", "i", 100)
		if n := strings.Count(out.String(), "\n"); n != 3 {
			t.Errorf("%d lines:\n%s", n, &out)
		}
		if want := fmt.Sprintf("skipped_since_last=%d", 99); !strings.Contains(out.String(), want) {
			t.Errorf("%s is missing:\n%s", want, &out)
		}
	})
}

func TestListenersNeedADecision(t *testing.T) {
	for _, tc := range []struct {
		listener Listener
		users    bool
		ok       bool
	}{
		{Listener{Address: "127.0.0.1:1883"}, false, true},
		{Listener{Address: "[::1]:1883"}, false, true},
		{Listener{Address: "localhost:1883"}, false, true},
		{Listener{Address: "[::ffff:127.0.0.1]:1883"}, false, true},
		{Listener{Address: "0.0.0.0:1883"}, false, false},
		{Listener{Address: ":1883"}, false, false},
		{Listener{Address: "192.168.1.5:1883"}, false, false},
		{Listener{Address: "gateway.local:1883"}, false, false},
		{Listener{Address: "0.0.0.0:1883", Anonymous: true}, false, true},
		{Listener{Address: "0.0.0.0:1883"}, true, true},
		{Listener{Address: "no port"}, true, false},
	} {
		err := checkListener(tc.listener, tc.users)
		if (err == nil) != tc.ok {
			t.Errorf("%+v, users %v: %v", tc.listener, tc.users, err)
		}
	}
	err := checkListener(Listener{Address: ":1883"}, false)
	for _, word := range []string{"cistern user add", "anonymous = true", "127.0.0.1"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

func TestLimitsAreChecked(t *testing.T) {
	if err := (Limits{}).withDefaults().validate(); err != nil {
		t.Error(err)
	}
	if err := (Limits{ReceiveMaximum: 70000}).withDefaults().validate(); err == nil {
		t.Error("a Receive Maximum that does not fit 16 bits")
	}
}
