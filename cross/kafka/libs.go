package kafka

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

//go:embed pom.xml
var pom []byte

// javaMin is the oldest Java that Debian stable brings and both lines of Kafka
// run on.
const javaMin = 17

// copyDependencies is the Maven goal that fetches what the pom names.
const copyDependencies = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"

// Libs is a folder with the jars of a broker, and the Java to run them.
type Libs struct {
	java string
	dir  string
}

// FetchLibs returns the jars that pom.xml names, kept in a folder below dir.
// Only the first call for a pom asks Maven. say is told what takes long.
func FetchLibs(ctx context.Context, dir string, say func(format string, args ...any)) (*Libs, error) {
	java, err := findJava(ctx)
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	l := &Libs{java: java, dir: filepath.Join(dir, fmt.Sprintf("libs-%x", sha256.Sum256(pom))[:13])}
	if _, err := os.Stat(l.dir); !errors.Is(err, fs.ErrNotExist) {
		return l, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return l, l.fetch(ctx, dir, say)
}

// fetch fills the folder under another name first: it is there whole or not.
func (l *Libs) fetch(ctx context.Context, dir string, say func(string, ...any)) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return errors.New("mvn, which fetches the broker's jars, is not in PATH: apt-get install maven")
	}
	work, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.WriteFile(filepath.Join(work, "pom.xml"), pom, 0o644); err != nil {
		return err
	}
	say("fetching Apache Kafka's jars with Maven, once, into %s", l.dir)
	// -U: without it a download that failed once counts as one that is not there, for a day.
	cmd := exec.CommandContext(ctx, mvn, "-B", "-q", "-U", copyDependencies, "-DoutputDirectory=libs")
	cmd.Dir = work
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mvn %s: %w\n%s", copyDependencies, err, out)
	}
	err = os.Rename(filepath.Join(work, "libs"), l.dir)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process was faster
	}
	return err
}

// Tool returns a command that runs a class of the jars, like
// kafka.tools.DumpLogSegments.
func (l *Libs) Tool(ctx context.Context, class string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, l.java, l.line(class, args...)...)
}

// line is the command line behind java. The flags trade peak speed for a fast
// start and a small heap: brokers of tests live for seconds.
func (l *Libs) line(class string, args ...string) []string {
	line := []string{"-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS", "-cp", filepath.Join(l.dir, "*"), class}
	return append(line, args...)
}

var javaVersion = regexp.MustCompile(`version "(\d+)`)

func findJava(ctx context.Context) (string, error) {
	const need = "the broker needs Java %d or newer: apt-get install openjdk-17-jre-headless (%s)"
	java, err := exec.LookPath("java")
	if err != nil {
		return "", fmt.Errorf(need, javaMin, "java is not in PATH")
	}
	out, err := exec.CommandContext(ctx, java, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf(need, javaMin, fmt.Sprintf("%s -version: %v", java, err))
	}
	first, _, _ := strings.Cut(string(out), "\n")
	found := javaVersion.FindStringSubmatch(first)
	if found == nil {
		return "", fmt.Errorf(need, javaMin, fmt.Sprintf("%s calls itself %q", java, first))
	}
	if n, _ := strconv.Atoi(found[1]); n < javaMin {
		return "", fmt.Errorf(need, javaMin, fmt.Sprintf("%s is %q", java, first))
	}
	return java, nil
}
