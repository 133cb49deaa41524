// Package analysis answers questions about traces: where the time went, what the
// device waited for, which kernels, operators and collectives cost how much.
//
// Every analysis is a pure function from one *trace.Trace, or one trace a rank, to a
// plain struct. Times are nanoseconds (int64) unless a field's name says otherwise,
// rates are per second, shares are 0…1 of what the field's comment names. No function
// changes a trace, so all may run at the same time on the same trace.
//
// docs/analyses.md holds the definitions and their sources. Options.HTA switches to the
// definitions of Holistic Trace Analysis where they differ from ours.
package analysis
