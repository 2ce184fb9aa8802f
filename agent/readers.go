package agent

import (
	"context"
	"errors"
	"sync"

	"cistern/agent/config"
	"cistern/bridge/mqtt"
	"cistern/bridge/mqtt/source"
)

// readers read external brokers. On a site one gateway reads each of them; when
// it is gone the next takes over under the same client id, so that the broker's
// session, with all that was not acknowledged, comes to it.
type readers struct {
	a *Agent

	mu  sync.Mutex
	all []*reader
}

func (r *readers) set(all []*reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = all
}

func (r *readers) list() []*reader {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all
}

// reader is one external broker, read by this gateway or by another.
type reader struct {
	config config.Source
	make   func() (*source.Source, error)

	mu     sync.Mutex
	source *source.Source // nil while another gateway reads
}

// openReaders checks every source by making it once.
func (a *Agent) openReaders() error {
	all, err := a.newReaders(a.ingest)
	if err != nil {
		return err
	}
	a.readers.set(all)
	return nil
}

func (a *Agent) newReaders(to source.Appender) (all []*reader, err error) {
	router, err := mqtt.NewRouter(a.routes(), a.partitions, a.config.Gateway.Site, a.clock.mark)
	if err != nil {
		return nil, err
	}
	for _, s := range a.config.MQTT.Sources {
		r := &reader{config: s, make: func() (*source.Source, error) {
			return source.New(source.Config{
				URL: s.URL, ClientID: s.ClientID, User: s.User, PasswordFile: s.PasswordFile,
				Topics: s.Topics, QoS: s.QoS, Retained: source.Retained(s.Retained), Window: s.Window,
				TLS: source.TLS{Enabled: s.TLS.Enabled, CAFile: s.TLS.CAFile, CertFile: s.TLS.CertFile, KeyFile: s.TLS.KeyFile, ServerName: s.TLS.ServerName},
			}, router, to, a.log)
		}}
		if _, err := r.make(); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// run reads what this gateway is to read, as that changes, until ctx ends.
func (r *readers) run(ctx context.Context) error {
	var running sync.WaitGroup
	failed := make(chan error, 1)
	for _, one := range r.list() {
		running.Go(func() {
			if err := one.run(ctx, r.a); err != nil && ctx.Err() == nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	running.Wait()
	return err
}

func (one *reader) run(ctx context.Context, a *Agent) error {
	if a.site == nil {
		return one.read(ctx)
	}
	changed, cancel := a.site.quorum.Watch()
	defer cancel()
	for ctx.Err() == nil {
		if !a.site.reads(one.config.URL) {
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		a.log.Info("external broker: this gateway reads it now", "url", one.config.URL)
		if err := one.readWhile(ctx, changed, func() bool { return a.site.reads(one.config.URL) }); err != nil {
			return err
		}
	}
	return nil
}

// readWhile reads until it is somebody else's turn.
func (one *reader) readWhile(ctx context.Context, changed <-chan struct{}, ours func() bool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- one.read(ctx) }()
	for {
		select {
		case err := <-ended:
			return err
		case <-changed:
			if !ours() {
				stop()
				if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
					return err
				}
				return nil
			}
		}
	}
}

// read reads until ctx ends.
func (one *reader) read(ctx context.Context) error {
	s, err := one.make()
	if err != nil {
		return err
	}
	one.mu.Lock()
	one.source = s
	one.mu.Unlock()
	defer func() {
		one.mu.Lock()
		one.source = nil
		one.mu.Unlock()
	}()
	return s.Run(ctx)
}

// status tells how the reading goes; the zero value while another gateway reads.
func (one *reader) status() source.Status {
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.source == nil {
		return source.Status{URL: one.config.URL}
	}
	return one.source.Status()
}

// reads reports whether this gateway is the one to read an external broker.
func (s *site) reads(url string) bool {
	node, ok := s.quorum.Image().Sources[url]
	self, _ := s.replicas.Self()
	return ok && node == self
}
