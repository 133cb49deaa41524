// Package child runs the user's program beside a verb: the command after --. If that is a server,
// it also finds out when it serves.
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

// interruptGrace is how long a command may go on after an interrupt, so that it can hand over what
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

// Program is a command that runs.
type Program struct {
	name      string
	ended     context.Context
	interrupt context.CancelFunc
	err       error // once it has ended
}

// Ended returns a context that ends when the program does.
func (p *Program) Ended() context.Context { return p.ended }

// Interrupt asks the program to end; Wait waits for it.
func (p *Program) Interrupt() { p.interrupt() }

// Start starts the command after --. vars are added to its environment; from them it learns where
// to attach. Its output is not part of the verb's answer and goes to the Err of e. For a nil
// command it returns a Program that never ends.
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

// Wait returns how the command ended, once it has. The end of ctx interrupts the command; callers
// end ctx after the session has ended, because the command must answer until then.
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
