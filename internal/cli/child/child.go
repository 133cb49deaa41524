// Package child is the user's program that runs beside a verb: the command after --, and
// whether it serves yet where it is a server.
package child

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/cli"
)

// interruptGrace is how long a command may go on after an interrupt: it hands over what
// it recorded.
const interruptGrace = 30 * time.Second

// Check refuses a command that cannot be started.
func Check(command []string) error {
	switch {
	case command == nil:
		return nil
	case len(command) == 0:
		return cli.Usage("no command after --")
	}
	if _, err := exec.LookPath(command[0]); err != nil {
		return cli.Usage("-- %s: no such program", command[0])
	}
	return nil
}

// Program is a running one.
type Program struct {
	name      string
	ended     context.Context
	interrupt context.CancelFunc
	err       error // once it has ended
}

// Ended is over once the program is.
func (p *Program) Ended() context.Context { return p.ended }

// Interrupt asks the program to end; Wait waits for it.
func (p *Program) Interrupt() { p.interrupt() }

// Start starts what is after --, with vars in its environment, from which it learns where to
// attach. What it prints is not part of the answer and goes to the Err of e. A nil command
// is none: its Program never ends.
func Start(e *cli.Env, command, vars []string) (*Program, error) {
	if command == nil {
		return &Program{ended: context.Background(), interrupt: func() {}}, nil
	}
	ctx, interrupt := context.WithCancel(context.WithoutCancel(e.Ctx))
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), vars...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.In, cli.Raw(e.Err), cli.Raw(e.Err)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = interruptGrace
	if err := cmd.Start(); err != nil {
		interrupt()
		return nil, fmt.Errorf("%s: %w", command[0], err)
	}
	ended, end := context.WithCancel(context.Background())
	out := &Program{name: strings.Join(command, " "), ended: ended, interrupt: interrupt}
	go func() { // Wait waits for it
		defer end()
		if err := cmd.Wait(); err != nil && e.Ctx.Err() == nil && ctx.Err() == nil {
			// Its exit code is not passed on: 2 would say that the capture's input was wrong.
			out.err = fmt.Errorf("%s: %v", out.name, err) //nolint:errorlint // see above
		}
	}()
	return out, nil
}

// Wait returns how the command ended, once it has; the end of ctx interrupts it. That comes
// after the session's end: until then it must answer.
func (p *Program) Wait(ctx context.Context) error {
	if p.name == "" {
		return nil
	}
	defer p.interrupt()
	stop := context.AfterFunc(ctx, p.interrupt)
	defer stop()
	<-p.ended.Done()
	return p.err
}
