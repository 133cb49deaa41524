package main

type inspectCmd struct {
	Path string `arg:"" help:"Recording or trace."`
}

func (c *inspectCmd) Run(e *env) error { return nil }
