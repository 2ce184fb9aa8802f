package segstore

import "context"

// Pulse returns when the committer of every lane has come round since it was
// called: what each was at, a write or a flush, is over. It writes nothing, so
// that asking for a sign of life costs no flash. While a flush hangs it waits,
// until ctx ends; a store that is closed answers ErrClosed.
func (s *Store) Pulse(ctx context.Context) error {
	for _, l := range s.lanes {
		turned := make(chan struct{})
		if !l.submit(&Group{Done: func(*Group) { close(turned) }}) {
			return ErrClosed
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
