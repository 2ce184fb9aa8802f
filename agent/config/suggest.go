package config

// closest returns the candidate that word was probably meant to be, or "".
// Two slips are forgiven, one in a short word; more would be guessing.
func closest(word string, candidates []string) string {
	best, slips := "", 3
	if len(word) < 5 {
		slips = 2
	}
	for _, c := range candidates {
		if d := distance(word, c); d < slips {
			best, slips = c, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete, change or swap with
// their neighbour (optimal string alignment).
func distance(a, b string) int {
	if len(a) > keyLenMax || len(b) > keyLenMax {
		return keyLenMax
	}
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

// keyLenMax bounds the work on a key that somebody pasted by accident.
const keyLenMax = 64
