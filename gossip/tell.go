package gossip

import (
	"context"
	"log/slog"
	"strings"
	"time"
)

const (
	linesMax = 64 // memberlist's log lines that wait for the teller
	kindsMax = 64 // different ones that are kept apart
	kindFor  = time.Minute
)

// lines is where memberlist writes its log: it often does so under its lock, so
// lines are queued and, if need be, dropped.
type lines struct {
	log   *slog.Logger
	queue chan string
	kinds map[string]time.Time // when each kind of line was last told; of the teller alone
}

func newLines(log *slog.Logger) *lines {
	return &lines{log: log, queue: make(chan string, linesMax), kinds: map[string]time.Time{}}
}

// Write takes one line.
func (l *lines) Write(b []byte) (int, error) {
	if debug := strings.HasPrefix(string(b), "[DEBUG]"); debug && !l.log.Enabled(context.Background(), slog.LevelDebug) {
		return len(b), nil
	}
	select {
	case l.queue <- string(b):
	default: // the same trouble will be said again
	}
	return len(b), nil
}

// tell logs one line. What memberlist calls an error is mostly a peer that did
// not answer: a warning, once a minute for each kind. The rest is for debugging,
// since the teller says itself who came and went.
func (l *lines) tell(line string) {
	line = strings.TrimSpace(line)
	level, text, ok := strings.Cut(strings.TrimPrefix(line, "["), "] ")
	if !ok {
		level, text = "", line
	}
	text = strings.TrimPrefix(text, "memberlist: ")
	if (level == "ERR" || level == "ERROR" || level == "WARN") && !strings.Contains(text, "EOF") && l.due(text) {
		l.log.Warn("gossip: " + text)
		return
	}
	l.log.Debug("gossip: " + text)
}

// due reports whether no line of this kind was told in the last minute. The
// kind of a line is what comes before its first colon.
func (l *lines) due(text string) bool {
	kind, _, _ := strings.Cut(text, ":")
	now := time.Now()
	if last, ok := l.kinds[kind]; ok && now.Sub(last) < kindFor {
		return false
	}
	if len(l.kinds) >= kindsMax {
		clear(l.kinds)
	}
	l.kinds[kind] = now
	return true
}

// tell logs who came and went, and memberlist's lines, until end is closed.
func (m *Membership) tell(changed <-chan struct{}, end <-chan struct{}) {
	told, clashed := map[string]State{m.config.Name: Alive}, map[string]time.Time{}
	for {
		select {
		case <-changed:
			m.tellStates(told)
			m.tellClashes(clashed)
		case line := <-m.lines.queue:
			m.lines.tell(line)
		case <-end:
			m.tellStates(told)
			return
		}
	}
}

func (m *Membership) tellStates(told map[string]State) {
	members := m.roster.list()
	present := make(map[string]bool, len(members))
	for _, x := range members {
		present[x.Name] = true
		before, known := told[x.Name]
		if known && before == x.State {
			continue
		}
		told[x.Name] = x.State
		m.tellState(x, before, known)
	}
	for name := range told { // forgotten by the roster
		if !present[name] {
			delete(told, name)
		}
	}
}

func (m *Membership) tellState(x Member, before State, known bool) {
	log, about := m.config.Logger, []any{"gateway", x.Name, "address", x.Addr}
	switch {
	case x.State == Suspect, x.State == Alive && known && before == Suspect:
		log.Debug("gateway is "+x.State.String(), about...) // comes and goes on a bad link
	case x.State == Alive && known:
		log.Info("gateway is back", append(about, "was", before.String())...)
	case x.State == Alive:
		log.Info("gateway joined", about...)
	case x.State == Dead:
		log.Warn("gateway is dead: it does not answer any more", about...)
	default:
		log.Info("gateway left", about...)
	}
}

// tellClashes says every clash of names once for as long as it lasts.
func (m *Membership) tellClashes(told map[string]time.Time) {
	for _, c := range m.roster.clashes() {
		key := c.Name + " " + c.Other
		if time.Since(told[key]) > conflictFor {
			m.config.Logger.Error("two gateways have the same name: give one of them another",
				"gateway", c.Name, "address", c.Addr, "other", c.Other)
		}
		told[key] = c.At
		if len(told) > 2*conflictsMax {
			clear(told)
		}
	}
}
