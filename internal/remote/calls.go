package remote

import (
	"sync"

	"github.com/pondage/pondage/stateful"
)

// Calls are those of a backend under way, and what this process knows of its tasks. The zero value is of an open backend
// without any. It may be used by several goroutines.
type Calls struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
	known  map[stateful.TaskID]*Known
}

// Enter lets a call in, unless the backend is closed. After nil, Leave must be called.
func (c *Calls) Enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return stateful.ErrClosed
	}
	c.inside.Add(1)
	return nil
}

// Hold lets one more in, by somebody who is inside. Leave must be called.
func (c *Calls) Hold() { c.inside.Add(1) }

// Leave ends what Enter or Hold began.
func (c *Calls) Leave() { c.inside.Done() }

// Closing reports whether nothing should be tried again.
func (c *Calls) Closing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Close lets nobody in any more, waits for those inside, and reports whether it was the first.
func (c *Calls) Close() bool {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.mu.Unlock()
	c.inside.Wait()
	return !was
}

// Known returns what the server last acknowledged of a task; all who open it share it.
func (c *Calls) Known(id stateful.TaskID) *Known {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[id]
	if k == nil {
		if c.known == nil {
			c.known = make(map[stateful.TaskID]*Known)
		}
		k = &Known{}
		c.known[id] = k
	}
	return k
}
