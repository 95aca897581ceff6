package model_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fault plants a fault in the engine: windows take late events for so long more.
var fault = func() time.Duration {
	d, _ := time.ParseDuration(os.Getenv("PONDAGE_MODEL_FAULT"))
	return d
}()

// A fault is found, and what is printed is a script that one can play by hand: a line for what is set and one for each
// step, few events, and what came out of both sides.
func TestAFaultIsShownByAShortScript(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestEngineIsTheModel$", "-rapid.nofailfile", "-rapid.seed=1", "-rapid.shrinktime=1m")
	cmd.Env = append(os.Environ(), "PONDAGE_MODEL_FAULT=1ms", "PONDAGE_MODEL_SCRIPTS=2000")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("a window that takes late events a millisecond longer was not found in 2,000 scripts:\n%s", out)
	}
	shown := regexp.MustCompile(`(?s)differ: .*?script\n(.*?)\n\s*engine\n(.*?)\n\s*model\n(.*?)\n\s*To reproduce`).FindSubmatch(out)
	if shown == nil {
		t.Fatalf("no script was printed:\n%s", out)
	}
	played, engine, model := string(shown[1]), string(shown[2]), string(shown[3])
	if n := strings.Count(strings.TrimSpace(played), "\n"); n > 5 {
		t.Errorf("the script has %d lines, want at most 5:\n%s", n, played)
	}
	if n := strings.Count(played, "@"); n > 4 {
		t.Errorf("the script has %d events, want at most 4:\n%s", n, played)
	}
	for _, part := range []string{", delay ", "send ", "end"} {
		if !strings.Contains(played, part) {
			t.Errorf("the script does not show %q:\n%s", part, played)
		}
	}
	if engine == model || !strings.Contains(engine, "pane 0") {
		t.Errorf("the outputs do not show the difference:\n%s\nand\n%s", engine, model)
	}
}
