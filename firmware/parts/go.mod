module cistern/firmware/parts

go 1.26.0

// Pinned: the newest versions of these are not always to be had. They hold no
// code that is linked, only files; firmware/image finds their folders.
require (
	github.com/gokrazy/firmware v0.0.0-20260522070551-527ce0ed43cf
	github.com/gokrazy/kernel.rpi v0.0.0-20251127164438-9778ec0261de
)
