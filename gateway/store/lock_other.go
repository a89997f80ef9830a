//go:build !unix

package store

import "os"

// lock does nothing where there are no such locks: that one gateway uses a
// directory is the operator's care there.
func lock(*os.File) error { return nil }
