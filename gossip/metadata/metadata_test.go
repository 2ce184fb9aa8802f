package metadata

import (
	"strings"
	"testing"
	"time"
)

// The vectors of Kafka's own UtilsTest.testMurmur2.
func TestMurmur2AsKafka(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, Kafka has %d", key, got, want)
		}
	}
}

func TestPartitionFor(t *testing.T) {
	if got := PartitionFor([]byte("foobar"), 10); got != int32(-790332482&0x7fffffff)%10 {
		t.Errorf("foobar goes to partition %d of 10", got)
	}
	for _, n := range []int32{0, 1} {
		if got := PartitionFor([]byte("x"), n); got != 0 {
			t.Errorf("of %d partitions: %d, want 0", n, got)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := DefaultStreamConfig(DefaultStream).Validate(); err != nil {
		t.Fatalf("the defaults are not valid: %v", err)
	}
	for name, c := range map[string]struct {
		change func(*StreamConfig)
		says   string
	}{
		"no name":             {func(c *StreamConfig) { c.Name = "" }, "needs 1 to"},
		"name with a slash":   {func(c *StreamConfig) { c.Name = "a/b" }, "'/' is not allowed"},
		"name of dots":        {func(c *StreamConfig) { c.Name = ".." }, "taken"},
		"long name":           {func(c *StreamConfig) { c.Name = strings.Repeat("x", StreamNameMax+1) }, "needs 1 to"},
		"no partitions":       {func(c *StreamConfig) { c.Partitions = 0 }, "partitions is 0"},
		"too many partitions": {func(c *StreamConfig) { c.Partitions = PartitionsMax + 1 }, "allowed are 1 to 1024"},
		"unknown lane":        {func(c *StreamConfig) { c.Lane = "fast" }, "alarm, normal, bulk"},
		"gzip":                {func(c *StreamConfig) { c.Codec = CodecGzip }, "codec is gzip"},
		"unknown codec":       {func(c *StreamConfig) { c.Codec = 9 }, "codec 9"},
		"negative window":     {func(c *StreamConfig) { c.CommitWindow = -2 }, "commit_window"},
		"long window":         {func(c *StreamConfig) { c.CommitWindow = time.Hour }, "commit_window"},
		"long ceiling":        {func(c *StreamConfig) { c.CommitLatencyMax = time.Hour }, "commit_latency_max"},
		"no commit bytes":     {func(c *StreamConfig) { c.CommitBytes = 0 }, "commit_bytes"},
		"negative retention":  {func(c *StreamConfig) { c.RetentionTime = -1 }, "retention"},
		"negative bytes":      {func(c *StreamConfig) { c.RetentionBytes = -1 }, "retention_bytes"},
	} {
		cfg := DefaultStreamConfig("s")
		c.change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error that says %q", name, err, c.says)
		}
	}
}

// TestReservedNames: a stream of the longest name still has room for a reserved
// stream of its own.
func TestReservedNames(t *testing.T) {
	long := strings.Repeat("x", StreamNameMax)
	for name, want := range map[string]bool{
		ReservedPrefix + "parked." + long: true, "cistern": false, "cisterns": false, "my.cistern.x": false, ReservedPrefix: true,
	} {
		if err := ValidateStreamName(name); err != nil || IsReserved(name) != want {
			t.Errorf("%.40q: reserved is %v, want %v; %v", name, IsReserved(name), want, err)
		}
	}
	if err := ValidateStreamName(ReservedPrefix + long + long); err == nil {
		t.Error("a reserved name of any length is taken")
	}
}
