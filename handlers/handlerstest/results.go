package handlerstest

import (
	"encoding/json"

	"github.com/pondage/pondage/handlers"
)

// Results returns the results in a topic, decoded from JSON, in order of partition and place.
func Results[A any](d *Driver, topic string) []handlers.Result[A] {
	d.t.Helper()
	var out []handlers.Result[A]
	for _, rec := range d.broker.topic(topic) {
		var r handlers.Result[A]
		if err := json.Unmarshal(rec.Value, &r); err != nil {
			d.t.Fatalf("handlerstest: %q in %q is not a result: %v", rec.Value, topic, err)
		}
		out = append(out, r)
	}
	return out
}
