package config

import (
	"fmt"
	"net"
	"strconv"
	"time"

	"cistern/gossip/metadata"
)

// The values that have words of their own.

func (t *table) acks(key string, dst *metadata.Acks) {
	v, _, ok := t.take(key)
	if !ok {
		return
	}
	switch v {
	case "all":
		*dst = metadata.AcksAll
	case int64(1):
		*dst = metadata.AcksLeader
	case int64(0):
		*dst = metadata.AcksNone
	default:
		t.fail(key, "", "is %s; allowed are \"all\", 1, 0", kind(v))
	}
}

func (t *table) codec(key string, dst *metadata.Codec) {
	word := dst.String()
	t.text(key, &word, "none", "snappy", "lz4", "zstd")
	for _, c := range []metadata.Codec{metadata.CodecNone, metadata.CodecSnappy, metadata.CodecLZ4, metadata.CodecZstd} {
		if c.String() == word {
			*dst = c
		}
	}
}

func (t *table) whenFull(key string, dst *metadata.WhenFull) {
	word := dst.String()
	t.text(key, &word, metadata.Refuse.String(), metadata.DropOldest.String())
	*dst = metadata.Refuse
	if word == metadata.DropOldest.String() {
		*dst = metadata.DropOldest
	}
}

func (t *table) window(key string, dst *time.Duration) {
	if t.values[key] == "auto" {
		t.known = append(t.known, key)
		*dst = metadata.WindowAuto
		return
	}
	t.duration(key, dst, 0, time.Minute)
}

// durationOrAuto takes a time span in [low, high]; "auto" and "" are 0.
func (t *table) durationOrAuto(key string, dst *time.Duration, low, high time.Duration) {
	if v := t.values[key]; v == "auto" || v == "" {
		t.known = append(t.known, key)
		*dst = 0
		return
	}
	t.duration(key, dst, low, high)
}

// inlineSecret refuses a secret that stands in the file itself.
func (t *table) inlineSecret(key string) {
	if !t.has(key) {
		return
	}
	t.known = append(t.known, key)
	t.fail(key, fmt.Sprintf("put it in a file with mode 0600 and name that with %s_file", key),
		"secrets don't belong in the configuration")
}

// checkHostPort holds an address to host:port.
func checkHostPort(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is no address: %w", address, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has the port %q; allowed are 0 to 65535", address, port)
	} else if n == 0 && host == "" {
		return fmt.Errorf("%q names neither host nor port", address)
	}
	return nil
}

// socketPathMax is what the kernel's address structure holds.
const socketPathMax = 107

func checkSocket(path string) error {
	if len(path) > socketPathMax {
		return fmt.Errorf("%q has %d bytes; the path of a unix socket may have %d", path, len(path), socketPathMax)
	}
	return nil
}
