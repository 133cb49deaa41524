// Package kinetod records PyTorch processes that nobody prepared: it speaks libkineto's
// on-demand protocol, in the place of a daemon such as dynolog.
//
// A process that was started with KINETO_USE_DAEMON in its environment asks a socket of its
// host every five seconds for a config. A Daemon answers and knows who asked; a Rank is one of
// these processes as the hub sees it, and hands a session on as a config. The process gives
// no answer: that it records, and that its trace is complete, shows in the files that
// libkineto makes, by their names.
//
// What libkineto sends, expects and does not forgive was read from pytorch/kineto
// (libkineto/src/IpcFabricConfigClient.cpp, ConfigLoader.cpp, output_json.cpp) and tried on
// torch 2.15; docs/kineto.md has it in prose.
package kinetod
