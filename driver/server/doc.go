// Package server drives the profilers of inference servers over HTTP: unmodified vLLM and SGLang,
// by their own routes /start_profile and /stop_profile.
//
// An answer of 200 from them proves nothing: a start while another profile is under way, a profiler
// that failed in a worker, and a window that no request reached are all answered with 200. Only a
// new file with a valid end proves that a rank has recorded. The driver waits for these files in
// the directory where the server writes, which therefore has to be readable on this host. A server
// has several ranks, which nobody knows before their files exist, so its Driver stands for all of
// them.
package server
