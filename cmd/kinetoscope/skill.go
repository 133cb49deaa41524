package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/report"
)

type skillCmd struct {
	Install skillInstallCmd `cmd:"" help:"Write the skill into a directory where agents look for skills."`
}

type skillInstallCmd struct {
	Dir   string `default:".claude/skills" help:"Directory of skills; the skill gets a directory of its own in it." type:"path"`
	Force bool   `help:"Replace files that are there."`
}

// skillFiles is an agent skill: SKILL.md and what it refers to.
//
//go:embed skill
var skillFiles embed.FS

func (c *skillInstallCmd) Run(e *cli.Env) error {
	target := filepath.Join(c.Dir, "kinetoscope")
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("install skill: %w", err)
	}
	root, err := os.OpenRoot(target)
	if err != nil {
		return fmt.Errorf("install skill: %w", err)
	}
	err = fs.WalkDir(skillFiles, "skill", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "skill" {
			return err
		}
		name, err := filepath.Rel("skill", path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("install skill: %w", err)
			}
			return nil
		}
		return c.write(root, path, name)
	})
	if err = errors.Join(err, root.Close()); err != nil {
		return err
	}
	fmt.Fprintln(report.Terminal(e.Out), target)
	return nil
}

func (c *skillInstallCmd) write(root *os.Root, path, name string) error {
	text, err := skillFiles.ReadFile(path)
	if err != nil {
		return fmt.Errorf("install skill: %w", err)
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if c.Force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := root.OpenFile(name, flags, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return cli.Usage("%s is there already: --force replaces it", filepath.Join(root.Name(), name))
	}
	if err != nil {
		return fmt.Errorf("install skill: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("install skill: %w", err)
	}
	return nil
}
