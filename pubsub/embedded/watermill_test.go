package embedded_test

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/stretchr/testify/require"

	"github.com/pondage/pondage/pubsub/embedded"
)

// T6: Watermill's own suite, on one partition.
func TestWatermillPubSub(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) *embedded.Log{
		"memory": func(t *testing.T) *embedded.Log {
			return memory(t, embedded.Config{Partitions: 1, RetryMax: 10 * time.Millisecond})
		},
		"disk": func(t *testing.T) *embedded.Log {
			l, err := embedded.Open(embedded.Config{Dir: t.TempDir(), Partitions: 1, RetryMax: 10 * time.Millisecond})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, l.Close()) })
			return l
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t)
			grouped := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
				s, err := l.Subscriber(embedded.SubscriberConfig{Group: group})
				require.NoError(t, err)
				return l.Publisher(), s
			}
			features := tests.Features{
				ConsumerGroups:  true,
				GuaranteedOrder: true,
				Persistent:      true,
			}
			plain := func(t *testing.T) (message.Publisher, message.Subscriber) { return grouped(t, "test") }
			tests.TestPubSub(t, features, plain, grouped)
		})
	}
}
