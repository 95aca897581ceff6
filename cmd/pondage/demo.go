package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/pondage/pondage/cmd/pondage/internal/demo"
)

const demoLong = `Counts flights per airport of origin and hour of their schedule: how many, their mean and their
longest delay. It also does so in three hours from every hour on, and in an airport's runs of departures more than
60 minutes late, with pauses of 30 minutes at most; --show prints these. The flights come in the order in which they would have been reported, so most of them are
out of order; those more than --max-delay behind are late, and told apart.

Kill it at any moment and run it again on the same --data-dir: it goes on where it was, and ends with
the same results, each window once. --kill does that by itself.

Exit codes: 0 when read = counted + late + dead-lettered; 1 when it failed, or the input is
cut off; 2 when nothing was read because flags, input or data folder were refused; 130 when it was interrupted.`

func demoCommand() *cobra.Command {
	var o demo.Options
	c := &cobra.Command{
		Use:   "demo",
		Short: "Count a week of real flights in hourly windows, exactly once",
		Long:  demoLong,
		Args: func(c *cobra.Command, args []string) error {
			return demo.Refuse(cobra.NoArgs(c, args))
		},
		RunE: func(c *cobra.Command, _ []string) error {
			return demo.Run(c.Context(), o, demo.Streams{
				In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
				Terminal: term.IsTerminal(int(os.Stderr.Fd())),
			})
		},
	}
	f := c.Flags()
	f.StringVar(&o.Input, "input", "", "`FILE` of flights as CSV, plain, gzip or zstd; - is standard input (default: the built-in week)")
	f.StringVar(&o.DataDir, "data-dir", "", "`DIR` of log and state (default: a fresh temporary one)")
	f.IntVar(&o.Partitions, "partitions", 4, "number of partitions; fixed for a data folder")
	f.DurationVar(&o.MaxDelay, "max-delay", 2*time.Hour, "how far behind the latest schedule seen a flight may be before it is late")
	f.StringVar(&o.Backend, "backend", demo.Pebble, "where state lives: pebble or memory")
	f.IntVar(&o.Kill, "kill", 0, "kill the run `N` times at random moments, and compare with an undisturbed one")
	f.StringVar(&o.Output, "output", demo.Table, "table, or json: one object per result on standard output")
	f.StringVar(&o.Show, "show", demo.Tumbling, "which results to print: tumbling (hours), sliding (3 hours, every hour) or sessions (runs of long delays)")
	f.Float64Var(&o.Rate, "rate", 0, "flights per second at most (default: as fast as it goes)")
	return c
}
