package drain

// DrainedOffset reads a stored cursor: all records below the offset are upstream,
// or were given up.
func DrainedOffset(stored []byte) (int64, error) {
	r, err := decodeRecord(stored)
	if err != nil {
		return 0, err
	}
	lowest := r.Live.reached()
	for _, f := range r.Older {
		lowest = min(lowest, f.reached())
	}
	return lowest, nil
}
