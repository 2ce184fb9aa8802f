package gossip

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"cistern/gossip/metadata"
)

const (
	// goneMax is how many dead and left members are remembered.
	goneMax = metadata.MembersMax
	// conflictsMax and conflictFor limit what is remembered of clashing names.
	// A clash that lasts is heard of with every push/pull.
	conflictsMax = 16
	conflictFor  = 3 * time.Minute
)

// roster is the latest that is known of every member. Its methods are called
// under memberlist's lock: they take its own mutex, change memory and return.
type roster struct {
	self string

	mu        sync.Mutex
	members   map[string]*Member
	conflicts map[string]Conflict
	watchers  map[chan struct{}]struct{}
}

func newRoster(self Member) *roster {
	return &roster{self: self.Name, members: map[string]*Member{self.Name: &self},
		conflicts: map[string]Conflict{}, watchers: map[chan struct{}]struct{}{}}
}

// admits reports whether a member of that name may be listed: it is, or there
// is room.
func (r *roster) admits(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.members[name]; m != nil && m.State.Present() {
		return nil
	}
	present := 0
	for _, m := range r.members {
		if m.State.Present() {
			present++
		}
	}
	if present >= metadata.MembersMax {
		return fmt.Errorf("the site has %d gateways already", present)
	}
	return nil
}

// alive records that a member joined, came back or said something new.
func (r *roster) alive(name, addr string, meta Meta) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[name]
	if m == nil {
		m = &Member{Name: name, State: Left}
		r.members[name] = m
	}
	m.Addr, m.Meta = addr, meta
	r.move(m, Alive)
	r.changed()
}

// gone records that a member is dead, or left if it had said that it would.
func (r *roster) gone(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[name]
	if m == nil {
		return
	}
	to := Dead
	if m.Meta.Leaving {
		to = Left
	}
	if m.State != to {
		r.move(m, to)
		r.forgetOldest()
		r.changed()
	}
}

// reached records whether a member answered when it was asked directly.
func (r *roster) reached(name string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[name]
	switch {
	case m == nil || name == r.self:
	case ok && m.State == Suspect:
		r.move(m, Alive)
		r.changed()
	case !ok && m.State == Alive:
		r.move(m, Suspect)
		r.changed()
	}
}

func (r *roster) move(m *Member, to State) {
	if m.State != to || m.Since.IsZero() {
		m.State, m.Since = to, time.Now()
	}
}

// forgetOldest keeps the number of absent members within goneMax.
func (r *roster) forgetOldest() {
	var oldest *Member
	gone := 0
	for _, m := range r.members {
		if m.State.Present() || m.Name == r.self {
			continue
		}
		gone++
		if oldest == nil || m.Since.Before(oldest.Since) {
			oldest = m
		}
	}
	if gone > goneMax {
		delete(r.members, oldest.Name)
	}
}

// clash records that other claims the name that addr has.
func (r *roster) clash(name, addr, other string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := name + " " + other
	if _, known := r.conflicts[key]; !known && len(r.conflicts) >= conflictsMax {
		return
	}
	r.conflicts[key] = Conflict{Name: name, Addr: addr, Other: other, At: time.Now()}
	r.changed()
}

// clashes returns what was heard of clashing names lately.
func (r *roster) clashes() []Conflict {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Conflict
	for key, c := range r.conflicts {
		if time.Since(c.At) > conflictFor {
			delete(r.conflicts, key)
			continue
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Conflict) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Other, b.Other)) })
	return list
}

// list returns copies of all members, by name.
func (r *roster) list() []Member {
	r.mu.Lock()
	list := make([]Member, 0, len(r.members))
	for _, m := range r.members {
		list = append(list, *m)
	}
	r.mu.Unlock()
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (r *roster) get(name string) (Member, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.members[name]; m != nil {
		return *m, true
	}
	return Member{}, false
}

// watch returns a channel that gets a value after each change, or one for
// several of them.
func (r *roster) watch() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	r.mu.Lock()
	r.watchers[c] = struct{}{}
	r.mu.Unlock()
	return c, func() {
		r.mu.Lock()
		delete(r.watchers, c)
		r.mu.Unlock()
	}
}

func (r *roster) changed() {
	for c := range r.watchers {
		select {
		case c <- struct{}{}:
		default: // it has not looked since the last change
		}
	}
}
