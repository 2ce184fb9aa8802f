package segstore

import "cistern/segstore/segment"

// noteEpochs notes the leader epochs that begin in this commit, and returns the
// lines of the metadata file that must be durable before it: these, and what
// earlier commits left to be removed.
func (l *lane) noteEpochs() []KV {
	lines := append([]KV(nil), l.debts...)
	for _, p := range l.placed {
		g := p.entry.Log
		g.mu.Lock()
		if !p.entry.cuts() && p.epoch > g.epochs.last() {
			g.epochs.assign(p.epoch, p.entry.BaseOffset)
			lines = append(lines, epochKV(g.id, p.epoch, p.entry.BaseOffset))
		}
		g.mu.Unlock()
	}
	return lines
}

// share lets followers have what is about to be written, so that they and this
// gateway sync at the same time. The batches stay in the encoder's buffer; it
// is not used again before publish or takeBack.
func (l *lane) share(commit []byte) {
	if len(l.shared) == 0 {
		return
	}
	for _, p := range l.placed {
		if g := p.entry.Log; g.open == openShared {
			frame := commit[p.pos-l.pos:][:p.frameSize]
			g.mu.Lock()
			g.flight = append(g.flight, inFlight{p.entry.BaseOffset, p.next, frame[segment.FrameHeaderLen:]})
			g.mu.Unlock()
		}
	}
	for _, g := range l.shared {
		if fn := g.onPlaced.Load(); fn != nil {
			(*fn)()
		}
	}
}

// publish moves the ends of the logs to what is on flash now. What is cut off is
// first out of bounds and then forgotten: a reader that looked at the bounds before
// sees by cuts that they moved, and one that looks after asks for nothing that is
// gone.
func (l *lane) publish() {
	l.active.lastSeq, l.active.age = l.seq-1, l.store.age()
	for _, p := range l.placed {
		if p.entry.cuts() {
			l.cutBounds(p)
		}
	}
	l.hold()
	for _, p := range l.placed {
		g := p.entry.Log
		g.mu.Lock()
		if !p.entry.cuts() {
			g.extend(l.active.id, p.entry.BaseOffset)
		}
		g.published(p.next, int64(p.frameSize))
		g.mu.Unlock()
	}
}

func (l *lane) cutBounds(p placed) {
	g := p.entry.Log
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.entry.Restart {
		g.restart(l.active.id, p.next)
		l.debts = append(l.debts, p.gone...)
		return
	}
	l.owe(g, g.cutBack(l.active.id, p.next))
}

// hold notes in the active segment's index what this commit brought.
func (l *lane) hold() {
	l.activeMu.Lock()
	defer l.activeMu.Unlock()
	for i, p := range l.placed {
		ref := p.entry.Log.ref
		if !p.entry.cuts() {
			l.holds.Append(ref, p.entry.BaseOffset, p.next, p.pos, p.frameSize)
			l.batches++
			continue
		}
		before := l.holds.Partition(ref).Bytes
		if p.entry.Restart {
			l.holds.Restart(ref, p.next)
		} else {
			l.holds.Truncate(ref, p.next)
		}
		l.placed[i].frameSize = int(l.holds.Partition(ref).Bytes - before)
	}
}

// takeBack undoes what a failed commit did to the logs. What followers may have
// got of it makes its leader epoch unfit for further batches: others at the same
// offsets would look the same to a follower.
func (l *lane) takeBack() {
	for _, p := range l.placed {
		g := p.entry.Log
		p.entry.Err = l.latched
		if g.open == openShared && !p.entry.Verbatim {
			g.spent = max(g.spent, p.epoch)
		}
		g.mu.Lock()
		g.land()
		l.owe(g, g.epochs.cut(g.end))
		g.next, g.lastEpoch = g.end, g.epochs.last()
		g.mu.Unlock()
	}
}

// owe has the lines of epochs that are no more removed before the next commit is
// written. Until then the journal's last segment says that they are gone.
func (l *lane) owe(g *Log, gone []epochStart) {
	for _, e := range gone {
		l.debts = append(l.debts, KV{Bucket: bucketEpochs, Key: epochKey(g.id, e.Epoch)})
	}
}
