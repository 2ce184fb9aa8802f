package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"cistern/agent/status"
)

const (
	members        = 3
	sitePartitions = 6 // each gateway leads two
)

// freeAddress returns an address of a member's own loopback host on which
// nothing listens just now. The host is its own, since the ports of 127.0.0.1
// are also those from which members that are up already reach each other.
func freeAddress(member int) (string, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:0", 11+member))
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// cisternSite starts a site of three gateways. A record is on two of them
// before its PUBACK (min_insync 2), and on the third at about the same time:
// the high watermark waits for all that are in sync.
func cisternSite(binary, dir string) (*running, error) {
	r := &running{dir: dir}
	key := filepath.Join(dir, "site.key")
	if out, err := exec.Command(binary, "site", "init", "--key", key).CombinedOutput(); err != nil {
		return r, fmt.Errorf("cistern site init: %w: %s", err, out)
	}
	var gossip [members]string
	for i := range gossip {
		var err error
		if gossip[i], err = freeAddress(i); err != nil {
			return r, err
		}
	}
	for i := range members {
		address, err := freeAddress(i)
		if err != nil {
			return r, err
		}
		listen, err := freeAddress(i)
		if err != nil {
			return r, err
		}
		if err := r.add(address, binary, memberConfig(dir, i, address, gossip[:], listen), "run", "--config"); err != nil {
			return r, err
		}
	}
	r.ready = func(ctx context.Context) error { return awaitSpread(ctx, socket(dir, 0)) }
	return r, nil
}

func socket(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("s%d", i+1)) }

func memberConfig(dir string, i int, address string, gossip []string, listen string) string {
	return fmt.Sprintf(`[gateway]
name = "gateway-%d"
data = %q
[[mqtt.listener]]
address = %q
anonymous = true
[status]
socket = %q
[site]
key_file = %q
gossip = %q
listen = %q
join = ["%s"]
bootstrap_expect = %d
profile = "wired"
[[stream]]
name = "mqtt"
partitions = %d
replicas = %d
min_insync = 2
commit_window = "0s"
[log]
level = "warn"
`, i+1, filepath.Join(dir, fmt.Sprintf("data%d", i+1)), address, socket(dir, i), filepath.Join(dir, "site.key"),
		gossip[i], listen, strings.Join(gossip, `", "`), members, sitePartitions, members)
}

// awaitSpread returns when every partition has all its copies in sync and is
// led by the gateway that should.
func awaitSpread(ctx context.Context, socket string) error {
	client := status.NewClient(socket)
	for {
		d, err := client.Status(ctx)
		if err == nil && spread(d) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the copies are not in sync, or not led by whom they should: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond): // another process: nothing to wait on
		}
	}
}

func spread(d *status.Document) bool {
	n := 0
	for _, s := range d.Streams {
		for i := range s.Partitions {
			p := &s.Partitions[i]
			if len(p.ISR) < members || p.UnderReplicated || p.Leader == "" || p.Leader != p.Replicas[0] {
				return false
			}
			n++
		}
	}
	return n >= sitePartitions
}

// natsCluster starts a JetStream cluster of three. Its MQTT keeps QoS 1
// messages in a stream that the first client makes it create; stream_replicas
// says how many copies, which otherwise would be as many as there are routes to
// addresses in the file. On a stream with copies, sync_interval "always" syncs
// the raft log of each, which is what a PUBACK waits for on two of three; the
// stream itself follows. Nobody subscribes, so the stream keeps no message
// beyond the raft log: a little less work than a real use would make.
func natsCluster(binary, dir string) (*running, error) {
	r := &running{dir: dir}
	var routes [members]string
	for i := range routes {
		address, err := freeAddress(i)
		if err != nil {
			return r, err
		}
		routes[i] = "nats://" + address
	}
	for i := range members {
		address, err := freeAddress(i)
		if err != nil {
			return r, err
		}
		host, port, _ := net.SplitHostPort(address)
		config := fmt.Sprintf(`server_name: bench-%d
listen: "127.0.0.1:-1"
jetstream { store_dir: %q, sync_interval: always }
cluster { name: bench, listen: %q, routes: [%s] }
mqtt { host: %q, port: %s, stream_replicas: %d }
`, i+1, filepath.Join(dir, fmt.Sprintf("data%d", i+1)), strings.TrimPrefix(routes[i], "nats://"),
			strings.Join(routes[:], ", "), host, port, members)
		if err := r.add(address, binary, config, "-c"); err != nil {
			return r, err
		}
	}
	return r, nil
}
