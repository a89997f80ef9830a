//go:build race

package peers

// Race are the flags with which programs of ours look for data races if the
// tests do.
var Race = []string{"-race"}
