package window

// Silence tells for how long inputs have been silent, by arrival and not by
// event time, while whoever asks was there to hear them. It has no clock: every
// time is an argument, in milliseconds of processing time. A Silence must not be used
// from several goroutines.
type Silence struct {
	gap   int64   // longest time between two calls; 0: any
	seen  int64   // time of the last call, Never while nobody listens
	since []int64 // per input
}

// NewSilence returns the silence of inputs. Between two calls with times more than gap
// milliseconds apart nobody listened, so that all begin anew; 0 is any time.
func NewSilence(inputs int, gap int64) *Silence {
	return &Silence{gap: gap, seen: Never, since: make([]int64, inputs)}
}

// Listen says that it is now. After nobody listened all silences begin here; so
// they do when the clock went back.
func (s *Silence) Listen(now int64) {
	if s.seen == Never || now < s.seen || s.gap > 0 && now-s.seen > s.gap {
		for i := range s.since {
			s.since[i] = now
		}
	}
	s.seen = now
}

// Heard says that an input is not silent now: something arrived, is known to
// be on its way, or is held back.
func (s *Silence) Heard(input int, now int64) {
	s.Listen(now)
	s.since[input] = now
}

// Stop says that nobody listens until the next call.
func (s *Silence) Stop() { s.seen = Never }

// Of returns for how many milliseconds an input has been silent.
func (s *Silence) Of(input int, now int64) int64 {
	s.Listen(now)
	return now - s.since[input]
}
