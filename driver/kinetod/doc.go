// Package kinetod records PyTorch processes that were not prepared for profiling: it speaks
// libkineto's on-demand protocol, in the place of a daemon such as dynolog.
//
// A process that was started with KINETO_USE_DAEMON in its environment asks a socket of its host
// every five seconds for a config. A Daemon answers and knows which processes ask. A Rank is one of
// these processes as the hub sees it: it passes a session on as a config. The process sends no
// answer: only the files that libkineto makes, by their names, show that it records and that its
// trace is complete.
//
// What libkineto sends, expects and does not forgive was read from pytorch/kineto
// (libkineto/src/IpcFabricConfigClient.cpp, ConfigLoader.cpp, output_json.cpp) and tried on torch
// 2.15; docs/kineto.md describes it.
package kinetod
