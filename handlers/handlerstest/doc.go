// Package handlerstest runs handlers in memory, one step at a time: the real
// [stateful.Processor] between a log and a sink that the test looks into. There
// is no router, no goroutine and no waiting; the clock moves when the test says so.
//
//	d := handlerstest.New(t, perMinute, handlerstest.StartAt(noon))
//	d.Send(Click{"ana", noon}, Click{"ana", noon.Add(71 * time.Second)})
//	d.Restart()
//	got := handlerstest.Results[int](d, "click-counts")
//
// The kit is as rough as a broker may be: it delivers again what was not
// acknowledged, and uses a record's memory again once its batch was. It registers the flag
// -update, see [Script].
package handlerstest

// T is what the kit needs of a *testing.T. Examples pass [Panic].
type T interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// Panic is a [T] for examples and programs: a failure is a panic.
var Panic T = panics{}
