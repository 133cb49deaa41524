// Package report renders what package analysis found: as text for a terminal, as a
// self-contained SVG picture and as JSON.
//
// Text never needs more than TextOptions.Width columns, colours only where asked to,
// and has a form that is pure ASCII. Equal reports give equal bytes.
package report
