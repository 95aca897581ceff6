// Package testserver runs real servers for tests: on free ports of the loopback
// interface, with their data in a temporary folder. They end with the test, and with
// the test's process however that ends. `make test` sees to it that the programs are
// installed (install.sh); a test that finds none fails and says what to do.
package testserver

// TB is what of [testing.TB] is needed, so that this package links no testing.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(f func())
	TempDir() string
}
