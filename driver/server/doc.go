// Package server drives the profilers of inference servers over HTTP: vLLM and SGLang as
// they are, by the routes /start_profile and /stop_profile that they have themselves.
//
// An answer of 200 proves nothing with them: a start while another is under way, a profiler
// that failed in a worker, a window that no request reached all answer 200. What proves a
// rank's recording is a new file of its own with a valid end, which the driver waits for
// where the server writes; so that directory has to be readable here. One server has several
// ranks, of which nobody knows before their files are there: its Driver stands for all.
package server
