package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// responseElementsMax bounds the topics, partitions and what else an answer has
// in arrays, where it is checked.
const responseElementsMax = 1 << 16

// checkResponse walks over the answers that gateways give each other, and those
// about transactions. Others that only a cluster gives are taken as they are.
func checkResponse(resp kmsg.Response, body []byte) error {
	w := walk{b: body, flexible: resp.IsFlexible(), elementsMax: responseElementsMax}
	switch version := resp.GetVersion(); kmsg.Key(resp.Key()) {
	case kmsg.Produce:
		w.produceResponse(version)
	case kmsg.Fetch:
		w.fetchResponse(version)
	case kmsg.ApiVersions:
		w.apiVersionsResponse()
	case kmsg.AddPartitionsToTxn, kmsg.TxnOffsetCommit:
		w.txnPartitionsResponse()
	case kmsg.OffsetFetch:
		w.offsetFetchResponse(version)
	case kmsg.FindCoordinator:
		w.findCoordinatorResponse(version)
	case kmsg.InitProducerID:
		w.skip(4 + 2 + 8 + 2)
		w.tags(nil)
	case kmsg.AddOffsetsToTxn, kmsg.EndTxn:
		w.skip(4 + 2)
		w.tags(nil)
	}
	return w.err
}

func (w *walk) produceResponse(version int16) {
	fixed := sizeAt(version, 4+2+8, since{2, 8}, since{5, 8}) // up to log start
	w.array(func() {
		w.topic(version)
		w.array(func() {
			w.skip(fixed)
			if version >= 8 {
				w.array(func() { w.skip(4); w.nullable(); w.tags(nil) }) // records refused
				w.nullable()
			}
			w.tags(func(_ uint64, field *walk) { field.skip(4 + 4); field.tags(nil) }) // leader
		})
		w.tags(nil)
	})
	w.skip(sizeAt(version, 0, since{1, 4}))
	w.tags(brokers)
}

func (w *walk) fetchResponse(version int16) {
	w.skip(sizeAt(version, 0, since{1, 4}, since{7, 2 + 4}))  // throttle, error, session
	fixed := sizeAt(version, 4+2+8, since{4, 8}, since{5, 8}) // up to log start
	w.array(func() {
		w.topic(version)
		w.array(func() {
			w.skip(fixed)
			if version >= 4 {
				w.array(func() { w.skip(8 + 8); w.tags(nil) }) // aborted transactions
			}
			w.skip(sizeAt(version, 0, since{11, 4})) // preferred replica
			w.bytes()
			w.tags(fetchedTags)
		})
		w.tags(nil)
	})
	w.tags(brokers)
}

// fetchedTags are diverging epoch, leader, and snapshot.
func fetchedTags(key uint64, field *walk) {
	if key <= 2 {
		field.skip([]int{4 + 8, 4 + 4, 8 + 4}[key])
		field.tags(nil)
	}
}

// brokers is tag 0 of an answer: where the leaders are.
func brokers(key uint64, field *walk) {
	if key == 0 {
		field.array(func() { field.skip(4); field.text(); field.skip(4); field.nullable(); field.tags(nil) })
	}
}

func (w *walk) apiVersionsResponse() {
	w.skip(2)
	w.array(func() { w.skip(2 + 2 + 2); w.tags(nil) })
	if !w.flexible {
		return // throttle, from version 1 on, is all that is left
	}
	w.skip(4)
	w.tags(func(key uint64, field *walk) { // features, supported and finalized
		if key == 0 || key == 2 {
			field.array(func() { field.text(); field.skip(2 + 2); field.tags(nil) })
		}
	})
}

// txnPartitionsResponse is what AddPartitionsToTxn (up to version 3) and
// TxnOffsetCommit answer: an error for each partition.
func (w *walk) txnPartitionsResponse() {
	w.skip(4)
	w.array(func() {
		w.text()
		w.array(func() { w.skip(4 + 2); w.tags(nil) })
		w.tags(nil)
	})
	w.tags(nil)
}

// offsetFetchResponse is of versions up to 7.
func (w *walk) offsetFetchResponse(version int16) {
	w.skip(sizeAt(version, 0, since{3, 4}))
	w.array(func() {
		w.text()
		w.array(func() {
			w.skip(sizeAt(version, 4+8, since{5, 4}))
			w.nullable()
			w.skip(2)
			w.tags(nil)
		})
		w.tags(nil)
	})
	w.skip(sizeAt(version, 0, since{2, 2}))
	w.tags(nil)
}

// findCoordinatorResponse is of versions up to 3.
func (w *walk) findCoordinatorResponse(version int16) {
	w.skip(sizeAt(version, 2, since{1, 4}))
	if version >= 1 {
		w.nullable()
	}
	w.skip(4)
	w.text()
	w.skip(4)
	w.tags(nil)
}
