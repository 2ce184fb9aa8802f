package quorum

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// serve answers other gateways until ctx ends.
func (q *Quorum) serve(ctx context.Context) {
	l := q.c.Port.Listener(ProtocolQuorum)
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, connsMax)
	for ctx.Err() == nil {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return
			}
			q.c.Logger.Warn("quorum: accept failed", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case slots <- struct{}{}:
			wg.Go(func() {
				q.serveConn(ctx, conn)
				<-slots
			})
		default:
			conn.Close()
		}
	}
}

// serveConn answers the requests of one connection, many at once. It reads no
// more of them than it works on.
func (q *Quorum) serveConn(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	var write sync.Mutex
	peer := q.c.PeerName(conn)
	in, slots := bufio.NewReader(conn), make(chan struct{}, connRequestsMax)
	for {
		slots <- struct{}{}
		var r request
		conn.SetReadDeadline(time.Now().Add(connIdleServer))
		if err := readFrame(in, &r); err != nil {
			return // the other side closed it, was silent for too long, or talks nonsense
		}
		wg.Go(func() {
			defer func() { <-slots }()
			a := q.answer(ctx, peer, &r)
			a.ID = r.ID
			write.Lock()
			defer write.Unlock()
			conn.SetWriteDeadline(time.Now().Add(requestTimeout))
			if writeFrame(conn, &a) != nil {
				conn.Close()
			}
		})
	}
}

func (q *Quorum) answer(ctx context.Context, peer string, r *request) answer {
	switch r.Kind {
	case kindPropose:
		ctx, cancel := context.WithTimeout(ctx, r.wait())
		defer cancel()
		return q.answerProposal(ctx, r.Change)
	case kindInvite:
		if err := q.accept(r.Invite); err != nil {
			return answer{Status: statusRefused, Detail: err.Error()}
		}
		return answer{}
	case kindAsk:
		return answer{Applied: q.raft.AppliedIndex(), Last: q.raft.LastIndex(), Site: q.Site(), Removed: q.hasRemoved(peer)}
	}
	return answer{Status: statusUnknownKind, Detail: "unknown kind of request"}
}

// answerProposal makes a change here or not at all: it is never forwarded again.
func (q *Quorum) answerProposal(ctx context.Context, change []byte) answer {
	if _, err := decodeChange(change); err != nil {
		return answer{Status: statusNotLeader, Detail: err.Error()}
	}
	result, err := q.applyHere(ctx, change)
	switch {
	case err == nil:
		return answer{Result: &result}
	case errors.Is(err, ErrUnknownFate):
		return answer{Status: statusUnknownFate, Detail: err.Error()}
	}
	return answer{Status: statusNotLeader, Detail: err.Error()}
}
