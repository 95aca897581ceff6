package testserver

import "time"

func deadline(d time.Duration) time.Time { return time.Now().Add(d) }
