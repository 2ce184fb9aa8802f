package main

import (
	"runtime/debug"
	"testing"
)

func TestFullVersion(t *testing.T) {
	v, c := version, commit
	t.Cleanup(func() { version, commit = v, c })
	for _, x := range []struct{ version, commit, want string }{
		{"1.2", "0123456789abcdef0123456789abcdef01234567", "1.2 (0123456789ab)"},
		{"1.2", "short", "1.2"},
	} {
		version, commit = x.version, x.commit
		if got := fullVersion(); got != x.want {
			t.Errorf("version %q of commit %q: %q, want %q", x.version, x.commit, got, x.want)
		}
	}
}

func TestRecordedCommit(t *testing.T) {
	info := &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "GOOS", Value: "linux"}, {Key: "vcs.revision", Value: "c0ffee"}}}
	if got := recordedCommit(info); got != "c0ffee" {
		t.Errorf("%q", got)
	}
	if got := recordedCommit(&debug.BuildInfo{}); got != "" {
		t.Errorf("without git: %q", got)
	}
}
