// Package steps finds the iterations of inference in a trace, says what each was, and
// whether the host or the device set its pace.
//
// Inference traces have no ProfilerStep. [Find] looks, in this order, for
//
//  1. labels: the native engine's slices, vLLM's execute_…context_…generation_…,
//     SGLang's step[…], vLLM-Omni's diffusion_step and diffusion_forward, and
//     diffusers' pipelines by the frames of their scheduler or denoiser;
//  2. ProfilerStep#N;
//  3. projections of such labels on the device, in traces without a host;
//  4. repetition: the period of the sequence of kernels as they were launched, or of
//     operators in a trace without a device;
//  5. an annotation of the user that recurs and covers at least half of a thread's time.
//
// # Device time
//
// Device work belongs to the step in whose slice it was launched, wherever and
// whenever it ran. A step's span on the device lasts from the later of its begin on
// the host and the end of the step before on the device, to the end of its own last
// work. In the span the device is busy or idle; an idle gap counts for the host as far
// as the call that launched the slice that ended it had not returned.
//
// A step is bound by the device if that was busy for 85 % of the span, by the host if
// the host's part of the gaps is at least half of them and 15 % of the span.
package steps
