package handlerstest_test

import (
	"os"
	"testing"

	"github.com/pondage/pondage/internal/testserver"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testserver.StopShared()
	os.Exit(code)
}
