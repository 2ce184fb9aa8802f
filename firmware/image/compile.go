package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// shippedFlags names the file, in the source tree, of the flags the agent is
// built with; `make build` reads the same one.
const shippedFlags = "cross/build/agent.flags"

// Source is the source tree, and which version of it this is.
type Source struct {
	Root    string
	Version string
	Commit  string
	// Seconds is the time of everything in an image: the commit's.
	Seconds int64
}

// FindSource asks git. SOURCE_DATE_EPOCH and a version that is given win.
func FindSource(ctx context.Context, root, version string) (Source, error) {
	s := Source{Root: root, Version: version, Commit: "unknown"}
	git := call{dir: root}
	if out, err := git.run(ctx, "git", "log", "-1", "--format=%H %ct"); err == nil {
		commit, seconds, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
		s.Commit = commit
		if s.Seconds, err = strconv.ParseInt(seconds, 10, 64); err != nil {
			return Source{}, fmt.Errorf("git log: %w", err)
		}
	} else if errors.Is(err, context.Canceled) {
		return Source{}, err
	}
	if s.Version == "" {
		s.Version = "dev"
		if out, err := git.run(ctx, "git", "describe", "--tags", "--always", "--dirty"); err == nil {
			s.Version = strings.TrimSpace(string(out))
		}
	}
	if e := os.Getenv("SOURCE_DATE_EPOCH"); e != "" {
		n, err := strconv.ParseInt(e, 10, 64)
		if err != nil {
			return Source{}, fmt.Errorf("SOURCE_DATE_EPOCH=%q: not a number of seconds", e)
		}
		s.Seconds = n
	}
	// FAT knows no time before 1980, and a clock that was never set says 1970.
	s.Seconds = max(s.Seconds, time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
	return s, nil
}

// clean takes away what the environment says of how to build: an image is the
// same from every machine, and what checks a configuration runs on this one.
var clean = []string{"CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOFIPS140=off", "GOOS=", "GOARCH="}

// Binaries are the two programs of ours in an image. Licences, when given, is a
// file with those of what is linked into them; else they are asked.
type Binaries struct{ Agent, Init, Licences string }

// Compile makes them for 64-bit boards, into dir.
func (s Source) Compile(ctx context.Context, dir string) (Binaries, error) {
	out, err := folder(dir)
	if err != nil {
		return Binaries{}, err
	}
	b := Binaries{Agent: filepath.Join(out, "cistern"), Init: filepath.Join(out, "init")}
	arm64 := []string{"GOOS=linux", "GOARCH=arm64", "GOARM64=v8.0"} // a Pi 3's processor
	for _, p := range []struct{ path, from string }{{b.Agent, "./agent/cistern"}, {b.Init, "./firmware/init"}} {
		if _, err := s.goBuild(ctx, arm64, p.path, p.from); err != nil {
			return Binaries{}, err
		}
	}
	return b, nil
}

// CheckerFile is the name of what Checker makes.
const CheckerFile = "cistern-host"

// Checker makes an agent for this machine, which knows what a configuration
// may say.
func (s Source) Checker(ctx context.Context, dir string) (string, error) {
	out, err := folder(dir)
	if err != nil {
		return "", err
	}
	return s.goBuild(ctx, nil, filepath.Join(out, CheckerFile), "./agent/cistern")
}

// folder makes one, and gives its full name.
func folder(dir string) (string, error) {
	full, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return full, os.MkdirAll(full, 0o755)
}

func (s Source) goBuild(ctx context.Context, env []string, path, from string) (string, error) {
	args, err := s.buildArgs()
	if err != nil {
		return "", err
	}
	_, err = call{dir: s.Root, env: append(slices.Clone(clean), env...)}.run(ctx, "go", append(args, "-o", path, from)...)
	return path, err
}

func (s Source) buildArgs() ([]string, error) {
	flags, err := os.ReadFile(filepath.Join(s.Root, shippedFlags))
	if err != nil {
		return nil, err
	}
	args := []string{"build", "-buildvcs=false"}
	for line := range strings.Lines(string(flags)) {
		if strings.HasPrefix(line, "-") {
			args = append(args, strings.TrimSpace(line))
		}
	}
	return append(args, "-ldflags=-s -w -X main.version="+s.Version+" -X main.commit="+s.Commit), nil
}
