//go:build !race

package peers

var raceFlags []string
