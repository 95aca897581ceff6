// Package archtest holds the tests of the repository's own rules: which package
// may import which, what is documented, how long a file may be, and that the
// README's code is code that runs. It exports nothing.
package archtest
