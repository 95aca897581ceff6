package window_test

import (
	"testing"

	"github.com/pondage/pondage/stateful/window"
)

func TestSilence(t *testing.T) {
	type step struct {
		do   string
		now  int64
		want int64 // of input 0, where it is asked for
	}
	for _, tt := range []struct {
		name  string
		gap   int64
		steps []step
	}{
		{"it begins with the first look", 0, []step{{"of", 100, 0}, {"of", 150, 50}}},
		{"what is heard ends it", 0, []step{{"of", 100, 0}, {"heard", 130, 0}, {"of", 150, 20}}},
		{"another input does not", 0, []step{{"of", 100, 0}, {"heard other", 130, 0}, {"of", 150, 50}}},
		{"while nobody listens there is none", 0, []step{{"of", 100, 0}, {"stop", 0, 0}, {"of", 150, 0}, {"of", 160, 10}}},
		{"an arrival is a look at all", 0, []step{{"of", 100, 0}, {"stop", 0, 0}, {"heard other", 140, 0}, {"of", 150, 10}}},
		{"so it is after too long a gap", 60, []step{{"of", 100, 0}, {"of", 160, 60}, {"of", 221, 0}, {"of", 230, 9}}},
		{"and after the clock went back", 0, []step{{"of", 100, 0}, {"of", 50, 0}, {"of", 120, 70}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := window.NewSilence(2, tt.gap)
			for i, step := range tt.steps {
				switch step.do {
				case "of":
					if got := s.Of(0, step.now); got != step.want {
						t.Errorf("step %d: the silence is %d, want %d", i, got, step.want)
					}
				case "heard":
					s.Heard(0, step.now)
				case "heard other":
					s.Heard(1, step.now)
				case "stop":
					s.Stop()
				}
			}
		})
	}
}
