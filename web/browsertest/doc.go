// Package browsertest holds the status page's tests: the server's own binary, a real
// pipeline, a real browser. It is a module of its own, so that the browser's driver is
// no dependency of the project. Without Chromium the tests are skipped; CHROMIUM names
// the program where it is not found by itself.
package browsertest
