// Package handlers has the handlers that users fill in: plain structs of functions and
// settings, which package stateful runs in transactions.
//
// [Window] counts, sums or otherwise folds the events of each key in windows of event
// time.
package handlers
