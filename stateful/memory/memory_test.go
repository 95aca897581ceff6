package memory_test

import (
	"testing"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/statefultest"
)

func TestBackend(t *testing.T) {
	statefultest.TestBackend(t, func(*testing.T) stateful.Backend { return memory.New() })
}
