// Package samples keeps what versions of this program wrote, so that every later one is
// held to reading it: recordings, manifests, messages, indexes. There is a directory of
// testdata for each version of a format and each time that fields came; command gen made
// them with the code of that day.
package samples
