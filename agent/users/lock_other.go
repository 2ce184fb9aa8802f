//go:build !unix

package users

import "os"

func lock(*os.File) error { return nil }
