package kafka

// CheckProduce returns a Route.Check for Produce, which refuses requests of
// more than partitionsMax partitions.
func CheckProduce(partitionsMax int) func(version int16, body []byte) error {
	return func(version int16, body []byte) error {
		w := walk{b: body, flexible: version >= 9, elementsMax: 2 * partitionsMax}
		if version >= 3 {
			w.nullable() // transactional id
		}
		w.skip(2 + 4) // acks, timeout
		w.array(func() {
			w.topic(version)
			w.array(func() {
				w.skip(4) // partition
				w.bytes() // records
				w.tags(nil)
			})
			w.tags(nil)
		})
		w.tags(nil)
		return w.end()
	}
}

// CheckFetch returns a Route.Check for Fetch, which refuses requests of more
// than partitionsMax partitions.
func CheckFetch(partitionsMax int) func(version int16, body []byte) error {
	return func(version int16, body []byte) error {
		w := walk{b: body, flexible: version >= 12, elementsMax: 2 * partitionsMax}
		w.skip(fetchHead(version))
		w.array(func() {
			w.topic(version)
			w.array(func() { w.skip(fetchPartition(version)); w.tags(nil) })
			w.tags(nil)
		})
		if version >= 7 {
			w.array(func() { // forgotten
				w.topic(version)
				w.array(func() { w.skip(4) })
				w.tags(nil)
			})
		}
		if version >= 11 {
			w.text() // rack
		}
		w.tags(func(key uint64, w *walk) {
			if key == 1 { // replica state: node, epoch
				w.skip(4 + 8)
				w.tags(nil)
			}
		})
		return w.end()
	}
}

// fetchHead is the length of a Fetch request up to its topics: replica, wait
// and least bytes; most bytes, isolation, session and its epoch. Version 15
// moved the replica to a tag.
func fetchHead(version int16) int {
	return sizeAt(version, 4+4+4, since{3, 4}, since{4, 1}, since{7, 4 + 4}, since{15, -4})
}

// fetchPartition is the length of a partition without its tags: number, offset,
// limit of bytes; log start, the leader's epoch, the last one.
func fetchPartition(version int16) int {
	return sizeAt(version, 4+8+4, since{5, 8}, since{9, 4}, since{12, 4})
}

// since is a field of fixed size that came with a version.
type since struct {
	version int16
	size    int
}

// sizeAt is how long fields of fixed size are together in a version.
func sizeAt(version int16, size int, later ...since) int {
	for _, field := range later {
		if version >= field.version {
			size += field.size
		}
	}
	return size
}
