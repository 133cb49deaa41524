package main

type reportCmd struct {
	Paths []string `arg:"" help:"Run, trace file, or directory of traces; - is stdin."`
	JSON  bool     `name:"json" help:"Print the report as JSON."`
}

func (c *reportCmd) Run(e *env) error {
	r, err := readReport(c.Paths[0])
	if err != nil {
		return err
	}
	if r == nil {
		return usage("%s holds no %s", c.Paths[0], reportFile)
	}
	if c.JSON {
		return printJSON(e.out, r)
	}
	return writeReport(e, r)
}
