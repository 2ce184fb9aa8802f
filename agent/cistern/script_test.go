package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cistern/firmware/machine/machinetest"
	"cistern/gossip/port"
)

// The conversations in testdata are run against the real binary, each in a
// folder of its own that holds the files at its end. A line is a command:
//
//	cistern ARGS       run it and expect exit code 0; "! cistern" expects another
//	exit N             the exit code of the last cistern was N
//	stdout REGEXP      its stdout matched; "! stdout" did not; likewise stderr
//	stdin FILE         what the next cistern reads
//	start ARGS         run `cistern run ARGS` and wait until it is ready
//	stop | kill        end it: SIGTERM and exit code 0, or SIGKILL
//	pretend FILE       an agent that has the status in FILE, and only a socket
//	told REGEXP        the orders it was given, a line each
//	port KEY           it will also answer at a site port with that key: $GATEWAY
//	image VERSION BAD  it will run from an image; BAD, if any, ends every trial
//	update FILE VERSION BOARD [BYTES]  make an update; of BYTES only that many stay
//	publish TOPIC TEXT publish it at QoS 1 and wait for the confirmation
//	mode FILE MODE     the file has these permissions
//	chmod FILE MODE    give it these
//	flip FILE OFFSET   turn one bit over
//
// Words are split at spaces and may be quoted with '. Lines with # are comments.

var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "cistern-test")
	if err == nil {
		binary = filepath.Join(dir, "cistern")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			newScript(t).run(file, string(text))
		})
	}
}

// script is one conversation under way.
type script struct {
	*testing.T
	dir            string // short, since it holds a unix socket
	stdin          string
	stdout, stderr string
	exit           int
	agent          *exec.Cmd
	log            bytes.Buffer // of the agent
	pretender      *pretender
	port           *port.Port
	machine        *machinetest.Machine
}

func newScript(t *testing.T) *script {
	dir, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{T: t, dir: dir}
	t.Cleanup(func() {
		s.end(os.Kill)
		if t.Failed() && s.log.Len() > 0 {
			t.Logf("the agent's log:\n%s", s.log.String())
		}
		os.RemoveAll(dir)
	})
	return s
}

func (s *script) run(file, text string) {
	lines := s.unpack(text)
	for n, line := range lines {
		words := split(line)
		if len(words) == 0 {
			continue
		}
		not := words[0] == "!"
		if not {
			words = words[1:]
		}
		if err := s.command(not, words[0], words[1:]); err != nil {
			s.Fatalf("%s:%d: %s\n%v\nstdout:\n%s\nstderr:\n%s", file, n+1, line, err, s.stdout, s.stderr)
		}
	}
}

// unpack writes the files behind "-- name --" lines and returns the lines above.
func (s *script) unpack(text string) []string {
	parts := regexp.MustCompile(`(?m)^-- (\S+) --\n`).Split(text, -1)
	names := regexp.MustCompile(`(?m)^-- (\S+) --\n`).FindAllStringSubmatch(text, -1)
	for i, name := range names {
		path := filepath.Join(s.dir, name[1])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(parts[i+1]), 0o644); err != nil {
			s.Fatal(err)
		}
	}
	return strings.Split(parts[0], "\n")
}

var word = regexp.MustCompile(`'([^']*)'|[^\s']+`)

func split(line string) (words []string) {
	if strings.HasPrefix(strings.TrimSpace(line), "#") {
		return nil
	}
	for _, m := range word.FindAllStringSubmatch(line, -1) {
		w := m[0]
		if w[0] == '\'' {
			w = m[1]
		}
		words = append(words, w)
	}
	return words
}

func (s *script) command(not bool, name string, args []string) error {
	switch name {
	case "cistern":
		return s.cistern(not, args)
	case "exit":
		if fmt.Sprint(s.exit) != args[0] {
			return fmt.Errorf("the exit code was %d", s.exit)
		}
		return nil
	case "stdout":
		return matches(s.stdout, args[0], not)
	case "stderr":
		return matches(s.stderr, args[0], not)
	case "stdin":
		b, err := os.ReadFile(filepath.Join(s.dir, args[0]))
		s.stdin = string(b)
		return err
	case "start":
		return s.start(args)
	case "stop":
		return s.end(os.Interrupt)
	case "kill":
		return s.end(os.Kill)
	case "pretend":
		return s.pretend(args[0])
	case "port":
		return s.openPort(args[0])
	case "image":
		return s.image(args)
	case "update":
		return s.update(args)
	case "told":
		return matches(s.pretender.told(), args[0], not)
	case "publish":
		if err := s.publish(args[0], args[1]); (err != nil) != not {
			return fmt.Errorf("publish: %v", err)
		}
		return nil
	}
	return s.file(name, filepath.Join(s.dir, args[0]), args[1])
}

func matches(text, pattern string, not bool) error {
	re, err := regexp.Compile("(?m)" + pattern)
	if err != nil {
		return err
	}
	if re.MatchString(text) == not {
		return fmt.Errorf("matched: %v", !not)
	}
	return nil
}

// cistern runs one command to its end.
func (s *script) cistern(not bool, args []string) error {
	if s.port != nil {
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "$GATEWAY", s.port.Addr().String())
		}
	}
	ctx, cancel := context.WithTimeout(s.Context(), 20*time.Second)
	defer cancel()
	var out, err bytes.Buffer
	c := exec.CommandContext(ctx, binary, args...)
	c.Dir, c.Stdin, c.Stdout, c.Stderr = s.dir, strings.NewReader(s.stdin), &out, &err
	c.Env = environment()
	failure := c.Run()
	s.stdin, s.stdout, s.stderr, s.exit = "", out.String(), err.String(), c.ProcessState.ExitCode()
	if (failure != nil) != not {
		return fmt.Errorf("exit code %d (%v)", s.exit, failure)
	}
	return nil
}

func environment(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "TERM=xterm"}, more...)
}

// start runs the agent and waits for its word that it is ready, which is also
// what systemd waits for.
func (s *script) start(args []string) error {
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(s.dir, "n"), Net: "unixgram"})
	if err != nil {
		return err
	}
	defer os.Remove(filepath.Join(s.dir, "n"))
	defer notify.Close()
	s.agent = exec.Command(binary, append([]string{"run"}, args...)...)
	s.agent.Dir, s.agent.Stderr = s.dir, &s.log
	s.agent.Env = environment("NOTIFY_SOCKET=" + filepath.Join(s.dir, "n"))
	if err := s.agent.Start(); err != nil {
		return err
	}
	word := make([]byte, 64)
	if err := notify.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	n, err := notify.Read(word)
	if err != nil || string(word[:n]) != "READY=1" {
		return fmt.Errorf("the agent said %q, %v", word[:n], err)
	}
	return nil
}

// end stops the agent and wants a clean exit, unless it is killed.
func (s *script) end(how os.Signal) error {
	if s.agent == nil {
		return nil
	}
	a := s.agent
	s.agent = nil
	if err := a.Process.Signal(how); err != nil {
		return err
	}
	if err := a.Wait(); err != nil && how != os.Kill {
		return fmt.Errorf("the agent ended with %w", err)
	}
	return nil
}
