// Command vulns looks for known vulnerabilities in modules of this repository with
// govulncheck, and fails if code reaches one. Where the database's site does not answer, it
// makes the database of golang.org/x/vulndb, which Go's module proxy serves:
//
//	go run ./internal/vulns -scanner golang.org/x/vuln/cmd/govulncheck@v1.9.0 . sql
//
// It never passes in silence: what could not be scanned is said, and is a failure with -must.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

const (
	// site is where govulncheck looks by itself.
	site = "https://vuln.go.dev"
	// siteTimeout bounds the question whether it answers; it answers in less than a second.
	siteTimeout = 10 * time.Second
	// database is the module that the site is made of, and its maker.
	database = "golang.org/x/vulndb"
	// attempts is how often a download is tried.
	attempts = 3
	// staleAfter is when a database is so old that this is said. It changes every day.
	staleAfter = 60 * 24 * time.Hour
	// found is govulncheck's exit code when code reaches a vulnerability.
	found = 3
)

// errNoScan is that nothing was scanned, for want of the network.
var errNoScan = errors.New("known vulnerabilities were NOT looked for")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	scanner := flag.String("scanner", "", "govulncheck as go run takes it, with its version")
	must := flag.Bool("must", false, "fail if nothing can be scanned")
	flag.Parse()
	err := run(ctx, *scanner, flag.Args())
	stop()
	switch {
	case err == nil:
		return
	case errors.Is(err, errNoScan) && !*must:
		fmt.Fprintln(os.Stderr, "SKIPPED:", err)
		return
	}
	fmt.Fprintln(os.Stderr, "vulns:", err)
	os.Exit(1)
}

// run scans the modules in dirs with the Go that GOTOOLCHAIN names: its standard library is
// scanned with them.
func run(ctx context.Context, scanner string, dirs []string) error {
	if scanner == "" || len(dirs) == 0 {
		return errors.New("usage: vulns -scanner GOVULNCHECK@VERSION DIR…")
	}
	var version string
	err := again(ctx, func() (err error) { version, err = output(ctx, "go", "env", "GOVERSION"); return err })
	if err != nil {
		return fmt.Errorf("%w: %s cannot be fetched: %w", errNoScan, os.Getenv("GOTOOLCHAIN"), err)
	}
	db, about, clean, err := source(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoScan, err)
	}
	defer clean()
	err = again(ctx, func() error { _, err := output(ctx, "go", "run", scanner, "-version"); return err })
	if err != nil {
		return fmt.Errorf("%w: %s cannot be fetched or run: %w", errNoScan, scanner, err)
	}
	fmt.Printf("known vulnerabilities: %s and the modules in %s, by %s\n", version, strings.Join(dirs, ", "), about)
	var errs []error
	for _, dir := range dirs {
		cmd := exec.CommandContext(ctx, "go", "run", scanner, "-db", db, "./...")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err == nil {
			fmt.Printf("%s: none is reached\n", dir)
			continue
		}
		os.Stdout.Write(out)
		why := fmt.Errorf("%s: the scan failed: %w", dir, err)
		if bytes.Contains(out, fmt.Appendf(nil, "exit status %d", found)) {
			why = fmt.Errorf("%s: known vulnerabilities are reached, see above", dir)
		}
		errs = append(errs, why)
	}
	return errors.Join(errs...)
}

// source is a database as govulncheck takes it: the site, or one that is made here. clean
// removes it.
func source(ctx context.Context) (db, about string, clean func(), err error) {
	if answers(ctx, site+"/index/db.json") {
		return site, site, func() {}, nil
	}
	var m struct {
		Dir, Version string
		Time         time.Time
	}
	err = again(ctx, func() error {
		text, err := output(ctx, "go", "mod", "download", "-json", database+"@latest")
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(text), &m)
	})
	if err != nil {
		return "", "", nil, fmt.Errorf("neither %s answers nor a module proxy that has %s: %w", site, database, err)
	}
	if m.Time, err = released(m.Version); err != nil {
		return "", "", nil, err
	}
	dir, err := os.MkdirTemp("", "vulns-")
	if err != nil {
		return "", "", nil, err
	}
	clean = func() { _ = os.RemoveAll(dir) } // it lies among temporary files
	err = again(ctx, func() error {
		_, err := output(ctx, "go", "run", database+"/cmd/indexdb@"+m.Version, "-out", dir, "-vulns",
			filepath.Join(m.Dir, "data", "osv"))
		return err
	})
	if err != nil {
		clean()
		return "", "", nil, fmt.Errorf("make a database of %s: %w", database, err)
	}
	about = fmt.Sprintf("%s of %s, for %s does not answer", database, m.Time.Format(time.DateOnly), site)
	if time.Since(m.Time) > staleAfter {
		about += " (it is OLD: newer vulnerabilities are not in it)"
	}
	return "file://" + filepath.ToSlash(dir), about, clean, nil
}

// released is when a version without a tag was made, as its name says.
func released(version string) (time.Time, error) {
	parts := strings.Split(version, "-")
	if len(parts) < 3 {
		return time.Time{}, fmt.Errorf("%s@%s does not say of when it is", database, version)
	}
	stamp := parts[len(parts)-2]
	return time.Parse("20060102150405", stamp[strings.LastIndexByte(stamp, '.')+1:])
}

func answers(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, siteTimeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, r.Body) // the body does not matter
	return errors.Join(r.Body.Close()) == nil && r.StatusCode == http.StatusOK
}

// again calls f until it succeeds, a few times.
func again(ctx context.Context, f func() error) (err error) {
	for range attempts {
		if err = f(); err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}

// output runs a go command outside of any module and returns what it prints.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = os.TempDir()
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}
