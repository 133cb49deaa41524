// Package docs holds the documents that the program itself quotes.
package docs

import _ "embed"

// Troubleshooting is docs/troubleshooting.md: a row of a table for each cause of each code that
// findings have.
//
//go:embed troubleshooting.md
var Troubleshooting string
