package peer

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"time"

	"cistern/bridge/kafka"
	"cistern/gossip/port"
	"cistern/segstore/replica"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Server serves a gateway's replica.Service to the others.
type Server struct {
	Service replica.Service
	Logger  *slog.Logger // nil: slog.Default

	fence       fence
	produceWait time.Duration // 0: ProduceWait; tests do not wait so long
}

var (
	checkProduce = kafka.CheckProduce(ProducePartitionsMax)
	checkFetch   = kafka.CheckFetch(PartitionsMax)
)

// Serve answers on the connections of ln until ctx ends or ln fails, and closes
// it. The other side of each connection is a gateway of the site: ln has made
// sure of that. Serve returns when no Fetch is under way any more; batches that
// the service has taken may be answered later.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	k := kafka.NewServer(kafka.ServerConfig{
		ConnsMax:        connsMax,
		PendingMax:      pendingMax,
		PendingBytesMax: pendingBytesMax,
		Logger:          s.Logger,
	})
	k.Handle(kafka.Route{
		New:      func() kmsg.Request { return kmsg.NewPtrProduceRequest() },
		Versions: speaks[kmsg.Produce],
		BytesMax: produceFrameMax,
		Check:    checkProduce,
		Serve:    s.produce,
	})
	k.Handle(kafka.Route{
		New:      func() kmsg.Request { return kmsg.NewPtrFetchRequest() },
		Versions: speaks[kmsg.Fetch],
		BytesMax: fetchFrameMax,
		Check:    checkFetch,
		Serve:    s.fetch,
	})
	return k.Serve(ctx, ln)
}

func (s *Server) fetch(ctx context.Context, conn *kafka.ServerConn, req kmsg.Request, respond func(kmsg.Response)) {
	asked := req.(*kmsg.FetchRequest)
	if isRecall(asked) {
		conn.Go(func() { respond(serveRecall(s.Service, asked)) })
		return
	}
	r := readFetchRequest(asked)
	conn.Go(func() {
		answer := s.Service.Fetch(ctx, r)
		if ctx.Err() != nil {
			return // nobody waits any more, or this gateway stops and the other should know
		}
		respond(fetchResponse(answer))
	})
}

func (s *Server) produce(_ context.Context, conn *kafka.ServerConn, req kmsg.Request, respond func(kmsg.Response)) {
	t, batches := newTicket(req.(*kmsg.ProduceRequest), respond)
	if len(batches) == 0 {
		t.answer()
		return
	}
	if !s.fence.through(conn, func() {
		t.limit(cmp.Or(s.produceWait, ProduceWait))
		s.Service.Produce(batches)
	}) {
		cmp.Or(s.Logger, slog.Default()).Info("batches of a gateway's former process came late: they are refused", "gateway", port.PeerName(conn.NetConn()), "batches", len(batches))
	}
}
