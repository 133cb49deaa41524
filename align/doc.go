// Package align puts the clocks of many ranks on one, and merges sorted sequences.
// It is pure.
//
// # Clocks
//
// A rank's clock reads t; the hub's reads t + offset. What is known:
//
//  1. The hub's probes give each rank's offset ± error (protocol.ClockError); the error
//     is half the round trip and is a bound, not a deviation.
//  2. Ranks on one host read one clock. If their probes do not contradict that, they
//     share the intersection of what the probes say, and move together from here on.
//  3. The ranks of a collective in which everybody needs something of everybody leave it
//     together. Of each one between hosts (matched by process group, name and Seq, or by
//     order where there is no Seq) the deviation of a clock's ends from those of the
//     others is a sample of how wrong its offset is; the median of the samples is robust
//     against late ranks. Over a long window a line through the samples (Theil and Sen)
//     gives the drift.
//  4. Nobody leaves a collective before everybody has entered. That bounds the error of
//     every two clocks against each other.
//  5. Nothing arrives before it was sent: e(receiver) - e(sender) <= arrived - sent for every
//     hand-off. Ranks that 2 and 3 tie move as one body. Two bodies between which hand-offs went both ways
//     are put into the middle of what these allow, as NTP does; where they went one way only, both are
//     moved by the least that makes them possible, within what the probes say. Clocks of different hosts
//     may run apart by 100 ppm meanwhile, which is in the errors.
//
// Ranks of one host are believed to share a clock unless their collectives or hand-offs forbid it: hosts that
// are all called "localhost" do not.
//
// Collectives say nothing about the ranks as a whole. Once they are right against each
// other, they are moved together to where all their probes agree.
//
// Clock.ErrorNs bounds the error against the hub's clock, Clock.RelativeNs that against
// the ranks that it has collectives with, which is smaller and what a comparison of
// ranks needs. Both hold if what the probes say does, and if the deviations of 3 have no
// common cause other than the clock beyond the bound of 4.
//
// # Merge
//
// Merge yields many sequences, each in order of time, as one in order of time. It holds
// one element of each.
package align
