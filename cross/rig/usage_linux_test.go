package rig

import (
	"testing"
	"time"
)

func TestUsageOfABusyProcess(t *testing.T) {
	p, err := Start(nil, "sh", "-c", "while :; do :; done")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		u, err := p.Usage()
		if err != nil {
			t.Fatal(err)
		}
		if u.CPU > 0 && u.RSS > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 10 s of spinning: %+v", u)
		}
	}
}
