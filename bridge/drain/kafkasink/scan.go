package kafkasink

import (
	"context"
	"errors"
	"fmt"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
	"cistern/segstore/batch"
)

// scan looks for our batches upstream, from the last acknowledged one on.
func (l place) scan(ctx context.Context, c *drain.Cursor) error {
	end, err := l.s.client.Offset(ctx, l.leader, l.to.Topic, l.to.Partition, kafka.Latest)
	if err != nil {
		return err
	}
	start, err := l.s.client.Offset(ctx, l.leader, l.to.Topic, l.to.Partition, kafka.Earliest)
	if err != nil {
		return err
	}
	if end < c.Upstream {
		return l.scanBack(ctx, c, start, end)
	}
	found, err := l.scanRange(ctx, c, max(start, c.Upstream), end)
	if err != nil {
		return err
	}
	if found >= 0 {
		c.Position = found
	}
	c.Upstream = end
	return nil
}

// Limits of a search backwards.
const (
	// scanBackFirst is how far before the end it begins.
	scanBackFirst = 1024
	// scanBackMax is how far it goes where nothing says that there is anything:
	// it reads what everybody wrote.
	scanBackMax = 1 << 16
)

// scanBack is for a cluster that lost records it had confirmed: its log ends
// before our last acknowledgement. All behind what remains of ours is sent again.
func (l place) scanBack(ctx context.Context, c *drain.Cursor, start, end int64) error {
	was := c.Position
	found, err := l.searchBack(ctx, c, start, end)
	if err != nil {
		return err
	}
	if found < 0 {
		return l.incarnate(ctx, c, "nothing of ours is left upstream")
	}
	c.Position, c.Upstream = found, end
	l.sayLost(found, was)
	return nil
}

// searchLost is for a cluster that lost records it had confirmed, and has got
// others since: its log does not end before our last acknowledgement, but our
// sequence number is refused, and nothing of ours lies behind there.
func (l place) searchLost(ctx context.Context, c *drain.Cursor, acked int64) error {
	start, err := l.s.client.Offset(ctx, l.leader, l.to.Topic, l.to.Partition, kafka.Earliest)
	if err != nil {
		return err
	}
	found, err := l.searchBack(ctx, c, max(start, acked-scanBackMax), acked)
	if err != nil || found < 0 || found >= c.Position {
		return err
	}
	l.sayLost(found, c.Position)
	c.Position = found
	return nil
}

// madeAnew looks for what is in doubt in a topic that was deleted and made again:
// a drainer that did not notice goes on in it under the old producer id. What it
// has sent there is kept, and so is the id.
func (l place) madeAnew(ctx context.Context, c *drain.Cursor) (bool, error) {
	old := c.Target
	old.TopicID = l.to.TopicID
	if !c.InDoubt || old != l.to {
		return false, nil
	}
	listed, err := l.described(ctx, c)
	if err != nil {
		return false, err
	}
	start, err := l.s.client.Offset(ctx, l.leader, l.to.Topic, l.to.Partition, kafka.Earliest)
	if err != nil {
		return false, err
	}
	end, err := l.s.client.Offset(ctx, l.leader, l.to.Topic, l.to.Partition, kafka.Latest)
	if err != nil {
		return false, err
	}
	if !listed {
		found, err := l.searchBack(ctx, c, max(start, end-scanBackMax), end)
		if err != nil || found < 0 {
			if err != nil && classifyVerdict(err) == drain.Denied {
				err = nil // no right to look
			}
			return false, err
		}
		c.Position = found
	}
	c.Target, c.Upstream = l.to, end
	l.s.cfg.Logger.Warn("the topic was made anew upstream, and we have gone on in it", "target", l.to.String(), "position", c.Position)
	return true, nil
}

// searchBack returns the offset behind our last record in [start, end), -1 when
// there is none. It begins at the end, in steps that double.
func (l place) searchBack(ctx context.Context, c *drain.Cursor, start, end int64) (int64, error) {
	for span, to := int64(scanBackFirst), end; to > start; span *= 2 {
		from := max(start, to-span)
		found, err := l.scanRange(ctx, c, from, to)
		if err != nil || found >= 0 {
			return found, err
		}
		to = from
	}
	return -1, nil
}

// scanBytesMin is the least that a search asks for at once.
const scanBytesMin = 16 << 10

// scanRange reads the headers of the batches in [from, end) and returns the
// offset behind our last record there, -1 when there is none.
func (l place) scanRange(ctx context.Context, c *drain.Cursor, from, end int64) (int64, error) {
	found := int64(-1)
	for size := int32(kafka.FetchBytesMax); from < end; {
		f, err := l.s.client.Fetch(ctx, l.leader, l.to.Topic, l.to.Partition, from, size)
		if errors.Is(err, kafka.ErrTimeout) && size > scanBytesMin {
			size /= 4 // a slow link
			continue
		}
		if err != nil {
			return 0, err
		}
		next := from
		for rest := f.Batches; len(rest) > 0; {
			b, r, err := batch.Next(rest)
			if errors.Is(err, batch.ErrTruncated) {
				break
			}
			if err != nil {
				return 0, fmt.Errorf("searching %s for our batches at offset %d: %w", l.to, next, err)
			}
			rest = r
			h, err := batch.ParseHeader(b)
			if err != nil {
				return 0, fmt.Errorf("searching %s for our batches at offset %d: %w", l.to, next, err)
			}
			next = max(next, h.NextOffset())
			if h.BaseOffset < end && h.Producer.ID == c.Producer && h.Producer.Epoch == c.Epoch && h.Count > 0 {
				found = max(found, c.OffsetOf(h.Producer.Sequence)+int64(h.Count))
			}
		}
		if next == from {
			return 0, fmt.Errorf("searching %s for our batches: nothing was found at offset %d of %d", l.to, from, end)
		}
		from = next
	}
	return found, nil
}
