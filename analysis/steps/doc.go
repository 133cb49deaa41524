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
// # Turns
//
// Device work belongs to the step in whose time it was launched, wherever and whenever it
// ran. On the host a step lasts from its begin to the next begin, so that what comes before
// its first launch and after its last (a data loader, a sampler, Python between steps)
// belongs to it. Only a pause belongs to none: time after a step that is three times as long
// as steps usually are apart, or that the engine itself calls waiting.
//
// On the devices the steps' turns follow each other without overlap. A turn begins with
// the step on the host, or when the work of the steps before has ended, if that is later; it
// ends with the step's last work or with its time on the host, whichever is later. In its
// turn the device is busy or idle; an idle gap counts for the host as far as the call that
// launched the slice that ended it had not returned, and wholly if nothing more follows. Of
// several devices each is looked at alone, shares are their mean, and what one of them
// waits while another works is not the host's doing.
//
// A step is bound by the device if that was busy for 85 % of the turn, by the host if
// the host's part of the gaps is at least half of them and 15 % of the turn.
package steps
