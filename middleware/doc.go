// Package middleware has the Watermill middlewares that stateful handlers need and
// Watermill lacks or gets wrong: [Retry], [CircuitBreaker] and [DeadLetter].
//
// The order matters and cannot be seen in a Router. Outermost first:
//
//	recover          Watermill's middleware.Recoverer
//	trace, metrics   yours
//	DeadLetter
//	Retry
//	CircuitBreaker   inside Retry: it sees every attempt
//	your own         once per envelope
//	the processor
//
//	router.AddMiddleware(
//		wmiddleware.Recoverer,
//		middleware.DeadLetter{Publisher: pub, Topic: "dead"}.Middleware,
//		middleware.Retry{}.Middleware,
//		middleware.CircuitBreaker{}.Middleware,
//	)
//
// Around a stateful handler a message is an envelope of many records. There these
// middlewares only say, in the message's context, what is to happen; the processor does
// it for each attempt of each record (T2). An envelope is never retried, refused or dead-lettered as
// a whole. Around any other Watermill handler they act themselves. One value serves
// both and any number of handlers.
//
// Watermill's own Retry, CircuitBreaker, PoisonQueue, Deduplicator, InstantAck and IgnoreErrors must
// not wrap stateful handlers: they acknowledge or copy messages behind the processor's back,
// or turn an open breaker into redeliveries.
package middleware
