// Package memsnap writes and reads memory snapshots in the shape of
// torch.cuda.memory._snapshot, the file that pytorch.org/memory_viz draws.
//
// A snapshot is a pickled dict:
//
//	segments            list of {device, address, total_size, allocated_size, active_size,
//	                    requested_size, stream, segment_type, segment_pool_id, is_expandable,
//	                    frames, blocks: [{address, size, requested_size, state, frames}]}
//	device_traces       list, index = device, of lists of {action, addr, size, stream,
//	                    time_us, frames, device}
//	allocator_settings  dict
//
// where a frame is {filename, line, name}.
//
// Write makes one from a trace's "[memory]" instants. A pool of the native engine takes
// every allocation from the process and gives it back, so each is a segment with one
// block: segment_alloc and alloc, then free_completed and segment_free. What is freed
// without having been allocated in the window has a free only, as in torch.
//
// Read reads snapshots without running what a pickle can run: the reader knows the
// opcodes of dict, list, tuple, str, int, float, bool and None, and refuses those that
// name or call anything.
package memsnap
