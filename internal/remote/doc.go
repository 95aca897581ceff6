// Package remote is what backends on a server share: calls that are tried again behind one
// breaker, the head that tells owners apart, and the line of commits on their way.
package remote
