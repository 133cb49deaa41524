package write

import (
	"context"
	"io"

	"github.com/kinetoscope/kinetoscope/trace/chrome"
	"github.com/kinetoscope/kinetoscope/trace/format"
)

// chromeWriter writes one rank as Kineto would, or many into one file.
type chromeWriter struct {
	w    io.Writer
	o    format.WriteOptions
	many *chrome.Many
	done bool
}

func newChrome(w io.Writer, o format.WriteOptions) format.Writer {
	c := &chromeWriter{w: w, o: o}
	if o.Ranks > 1 {
		c.many = chrome.NewMany(w, o.StartNs)
	}
	return c
}

func (c *chromeWriter) Add(ctx context.Context, r format.Rank) error {
	c.done = true
	if c.many != nil {
		return c.many.Add(r.Trace, r.Name, r.Clock)
	}
	_, err := chrome.Write(c.w, r.Trace, chrome.Options{TraceName: c.o.Name})
	if err != nil {
		return err
	}
	return ctx.Err()
}

func (c *chromeWriter) Close(context.Context) error {
	switch {
	case !c.done:
		return errNothing
	case c.many != nil:
		return c.many.Close(c.o.Name)
	}
	return nil
}
