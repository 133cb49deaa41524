// Package pipeline says where the time of a captured pipeline went: per stage and
// rank, per step, per operator, per request, and along the way to the first output.
//
// [Analyze] is a pure function from one trace a rank to a [Report]; a Report is plain
// data, and written as JSON it is a run's report.json (docs/report.md).
//
// # Exclusive time
//
// A rank's window is divided without gap or overlap between the categories of
// [Category]. On one track the innermost classified slice owns an instant, so an
// all-reduce inside a decode step is communication and no decode. Operators and
// sampling belong to the step round them. Where several tracks of a rank are at work
// at once, the category that comes first in the order of [Category] owns the instant:
// a hand-off sent by a helper thread during a decode step costs the rank nothing.
// An instant that no classified slice covers is [CatOther]. The categories therefore
// sum to the window exactly.
//
// # Time
//
// All times are nanoseconds. Times of day are Unix time on the clock of the first
// rank's trace, moved by Options.Offsets.
package pipeline
