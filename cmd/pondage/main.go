// Command pondage shows what Pondage does. Its one command, demo, counts real flights in
// hourly windows, exactly once, on nothing but the machine's disk.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pondage/pondage/cmd/pondage/internal/demo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:]))
}

// run returns the exit code.
func run(ctx context.Context, args []string) int {
	root := &cobra.Command{
		Use:           "pondage",
		Short:         "Windows, keyed state and exactly-once effects for Go services that use Watermill",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return demo.Refuse(fmt.Errorf("%w; see '%s --help'", err, c.CommandPath()))
	})
	root.AddCommand(demoCommand())
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "pondage:", err)
	var e *demo.ExitError
	if errors.As(err, &e) {
		return e.Code
	}
	return demo.CodeFailed
}
