package notify

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Message{
		"READY=1":                       {Ready: true},
		"READY=1\nSTATUS=up\n":          {Ready: true},
		"WATCHDOG=1":                    {Alive: true},
		"STOPPING=1\n":                  {Stopping: true},
		"READY=0\nWATCHDOG=trigger":     {},
		"MAINPID=1\nX_OTHER=a=b\nFDS=1": {},
	} {
		if got, err := Parse([]byte(text)); err != nil || got != want {
			t.Errorf("%.30q: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "READY", "READY=1\nnonsense", "=1", strings.Repeat("x=", messageBytesMax)} {
		if got, err := Parse([]byte(text)); !errors.Is(err, ErrMessage) || got != (Message{}) {
			t.Errorf("%.30q: got %+v, %v", text, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("READY=1\nSTATUS=running\nWATCHDOG=1"))
	f.Add([]byte("STOPPING=1\n\nX=\x00"))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		m, err := Parse(datagram)
		if err != nil && m != (Message{}) {
			t.Errorf("an error with a message: %+v", m)
		}
	})
}
