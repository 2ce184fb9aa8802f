package batch

import (
	"github.com/klauspost/compress/zstd"

	"cistern/gossip/metadata"
)

// LevelMax is the highest level that NewLevel makes a difference for. Those from
// LevelBest on take 35 MB for each encoder: see TestLevelMemory.
const (
	LevelBest = 10
	LevelMax  = 22
)

// levelWindow lets zstd look back over the whole of the largest batch.
const levelWindow = 1 << 20

// Level compresses with zstd at a level of the caller's choice, where builders
// themselves take the fastest. It keeps its memory, and is used by one goroutine
// at a time.
type Level struct{ encoder *zstd.Encoder }

// NewLevel returns a Level; level counts as zstd's own command does. Four
// settings stand behind the numbers: up to 2, to 5, to 9, and above.
func NewLevel(level int) *Level {
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)),
		zstd.WithWindowSize(levelWindow),
		zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(false)) // the batch has its own
	if err != nil {
		panic(err) // unreachable: the options are constants, any level is one of the four
	}
	return &Level{encoder: e}
}

// Use sets how the batch is compressed; level is for zstd only, and nil is what
// NewBuilder does.
func (b *Builder) Use(codec metadata.Codec, level *Level) { b.codec, b.level = codec, level }
